"""Whether a 3D network keeps the contract of :class:`~vist3a.networks.template.EnterableNetwork`.

    from vist3a.testing.networks import check_network

    check_network(lambda: MyNetwork(MyConfig(embed_dim=16, depth=4)))

Random weights will do and sizes should be small, but every part must show: what is initialised to zero hides what is behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from vist3a.networks.template import EnterableNetwork
from vist3a.records import Reconstruction
from vist3a.records.frame_size import resize_frames
from vist3a.testing.comparing import by_view, difference, must, refused, same, spread, tensors
from vist3a.testing.network_case import Case, tokens_of

MANY = 4
"""Stitch points that are tried where all would take long."""
ROUGH = 0.2
"""Root mean square error, relative, that narrower matrices may cause."""


@torch.no_grad()
def check_network(
    make: Callable[[], EnterableNetwork[Any]],
    *,
    size: tuple[int, int] | None = None,
    views: int = 5,
    batch: int = 2,
    dtype: torch.dtype = torch.float64,
    tolerance: float = 1e-6,
    seed: int = 0,
) -> None:
    """Try everything that the contract says on the network that ``make`` gives.

    Args:
        make: Builds the network, small and with weights that let every part show.
        size: Height and width of the frames in pixels; None: two by three patches.
        views: Views of a clip. Three more than the network has ``fixed_views`` see every change of places.
        batch: Clips in a batch, at least two.
        dtype: In which the network runs, but for the check of narrower matrices.
        tolerance: Largest allowed difference, relative to the largest value.
        seed: Draws the frames.

    Raises:
        AssertionError: One sentence: what the network does, and what the contract says.
    """
    network = make().to(dtype).eval()
    must(isinstance(network, EnterableNetwork), f"{type(network).__name__}: allowed: an EnterableNetwork")
    # Fused Gaussians could not be assigned to views.
    network.one_gaussian_per_pixel()
    patch = network.patch_size
    height, width = size or (2 * patch, 3 * patch)
    shape = (batch, views, 3, height, width)
    # Drawn in float64 whatever the dtype, so that all see the same frames.
    frames = torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)
    case = Case(network, frames, tolerance)
    for check in CHECKS:
        try:
            check(case)
        except Exception as error:
            if isinstance(error, AssertionError):
                raise
            wanted = (check.__doc__ or "").strip().splitlines()[0]
            found = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            raise AssertionError(f"{case.name}: {found}; expected: {wanted}") from error


def check_shapes(case: Case) -> None:
    """Every tensor of result and states has the shape that the records name, and is finite."""
    batch, views, _, height, width = case.frames.shape
    found, maps = case.whole, (batch, views, height, width)
    for name in ("depth", "depth_confidence", "points_confidence", "points"):
        value, wanted = getattr(found, name), (*maps, 3) if name == "points" else maps
        must(
            tuple(value.shape) == wanted, f"{case.name}: {name} is {tuple(value.shape)}; expected {wanted} (batch, ...)"
        )
    for name, value in tensors(found).items():
        must(bool(value.isfinite().all()), f"{case.name}: {name} is not finite everywhere")
        must(len(value) == batch, f"{case.name}: {name} is of {len(value)} clips; expected {batch}")
    there = found.gaussians is not None
    must(
        there == case.network.has_gaussians,
        f"{case.name}: has_gaussians is {case.network.has_gaussians}, but of Gaussians there are {'some' if there else 'none'}",
    )
    names = [point.name for point in case.points]
    must(len(set(names)) == len(names) > 0, f"{case.name}: names of stitch points {names}; each is allowed once")
    must(list(case.states) == names, f"{case.name}: tokens_at gave {list(case.states)}; asked for {names}")
    rows, columns = case.network.token_grid(height, width)
    for point, state in zip(case.points, case.states.values(), strict=True):
        for name, value, wanted in (
            ("patch tokens", state.patch_tokens, (batch, views, rows, columns, point.width)),
            ("special tokens", state.special_tokens, (batch, views, point.special_tokens, point.width)),
        ):
            shape = tuple(value.shape)
            must(shape == wanted, f"{case.name}: {name} at {point.name} are {shape}; expected {wanted}")


def check_cameras(case: Case) -> None:
    """Cameras are rigid, pinholes, and in the frame that the network says."""
    pose, k = case.whole.cameras.world_to_camera.double(), case.whole.cameras.intrinsics.double()
    bound = max(case.tolerance, 1e-5)
    rotation, identity = pose[..., :3, :3], torch.eye(4, dtype=torch.float64)
    error = float((rotation @ rotation.transpose(-1, -2) - identity[:3, :3]).abs().max())
    must(error <= bound, f"{case.name}: rotations of cameras differ by {error:.2g} from rigid ones (R R' is not 1)")
    must(bool((torch.det(rotation) > 0).all()), f"{case.name}: rotations of cameras are mirrored (determinant -1)")
    must(bool((pose[..., 3, :] == identity[3]).all()), f"{case.name}: the last row of a camera's pose is not 0 0 0 1")
    must(bool((k[..., 0, 0] * k[..., 1, 1] != 0).all()), f"{case.name}: a focal length (pixels) is 0")
    must(bool((k[..., 2, :] == identity[2, :3]).all()), f"{case.name}: the last row of intrinsics is not 0 0 1")
    origin = case.network.origin_view(pose.shape[1])
    if origin is not None:
        error = float((pose[:, origin] - identity).abs().max())
        must(
            error <= bound,
            f"{case.name}: the camera of view {origin} differs by {error:.2g} from the world that it is (origin_view)",
        )


def check_depth(case: Case) -> None:
    """Depth is in front of the cameras, and the z of the points in them."""
    found = case.whole
    if case.network.positive_depth:
        must(bool((found.depth > 0).all()), f"{case.name}: depth is not above 0 everywhere (positive_depth)")
    if case.network.points_from_depth:
        pose = found.cameras.world_to_camera[:, :, None, None]
        z = (found.points * pose[..., 2, :3]).sum(-1) + pose[..., 2, 3]
        what = f"{case.name}: z of the points in their cameras and depth (points_from_depth)"
        same({"z": z}, {"z": found.depth}, max(case.tolerance, 1e-5), what)


def check_content(case: Case) -> None:
    """Results repeat, and depend on what a view shows."""
    with torch.no_grad():
        case.expect(case.network.reconstruct(case.frames), "a second run on the same frames")
        for view in {0, case.frames.shape[1] - 1}:
            other = case.frames.clone()
            other[:, view] = 1 - other[:, view]
            changed = difference(case.network.reconstruct(other).depth[:, view], case.whole.depth[:, view])
            must(changed > case.tolerance, f"{case.name}: the depth of view {view} does not depend on what it shows")


def check_entry(case: Case) -> None:
    """reconstruct_from(p, tokens_at(p, x), rgb=x) is reconstruct(x) at every point; bare tokens do at complete points."""
    for point in case.points:
        state = case.states[point.name]
        must(
            not (point.complete and state.taps),
            f"{case.name}: {point.name} is complete, but its state has taps of earlier depths",
        )
        found = case.network.reconstruct_from(state, case.size, rgb=case.frames)
        case.expect(found, f"entered at {point.name} instead of run whole")
        if point.complete and state.reference is not None:
            found = case.network.reconstruct_from(replace(state, reference=None), case.size, rgb=case.frames)
            case.expect(found, f"entered at {point.name} with its tokens alone (complete)")


def check_states(case: Case) -> None:
    """Tokens are what a block really emits: those of the whole run, of an entered run, and of a view alone where that is said."""
    first, names = case.points[0].name, [point.name for point in case.points]
    entered = case.network.run_from(case.states[first], case.size, names)[1]
    until = case.network.run_from(case.states[first], case.size, [names[-2]], until=names[-2])[1] if names[1:] else {}
    passing = case.network.trunk(case.frames, names)[1]
    for how, found in ((f"entered at {first}", entered), ("stopped there", until), ("of the whole trunk", passing)):
        for name, state in found.items():
            same(
                tokens_of(state), tokens_of(case.states[name]), case.tolerance, f"{case.name}: tokens at {name}, {how}"
            )
    last = case.frames.shape[1] - 1
    alone = case.network.tokens_at([point.name for point in case.points if point.per_view], case.frames[:, last:])
    for name, state in alone.items():
        own = {key: value[:, last:] for key, value in tokens_of(case.states[name]).items()}
        same(tokens_of(state), own, case.tolerance, f"{case.name}: tokens at {name} (per_view) of a view alone")


def check_rgb(case: Case) -> None:
    """The image is asked for, and read at an entry, if and only if the network says so."""
    state = case.states[case.points[0].name]
    if not case.network.needs_rgb:
        case.expect(case.network.reconstruct_from(state, case.size), "entered without rgb (needs_rgb is False)")
        return
    must(
        refused(lambda: case.network.reconstruct_from(state, case.size), ValueError),
        f"{case.name}: entered without rgb, and nothing was said; expected a ValueError (needs_rgb is True)",
    )
    other = tensors(case.network.reconstruct_from(state, case.size, rgb=1 - case.frames))
    changed = max(difference(value, other[name]) for name, value in tensors(case.whole).items())
    must(changed > case.tolerance, f"{case.name}: needs_rgb is True, but rgb changes nothing")
    if not case.network.geometry_needs_rgb:
        geometry = case.network.reconstruct_from(state, case.size, with_gaussians=False)
        what = f"{case.name}: entered without rgb and Gaussians (geometry_needs_rgb is False)"
        same({"depth": geometry.depth}, {"depth": case.whole.depth}, case.tolerance, what)


def check_places(case: Case) -> None:
    """Views that change places change the places of their results and tokens, and nothing else; but for ``fixed_views``."""
    views = case.frames.shape[1]
    fixed = case.network.fixed_views(views)
    free = [view for view in range(views) if view not in fixed]
    # All free views move by one place, then the first two change places.
    for moved in (free[1:] + free[:1], free[1::-1] + free[2:]):
        order = list(range(views))
        for place, view in zip(free, moved, strict=True):
            order[place] = view
        what = f"{case.name}: views in the order {order} (fixed_views {fixed})"
        expected = {name: value[:, order] for name, value in by_view(case.whole).items()}
        same(by_view(case.network.reconstruct(case.frames[:, order])), expected, case.tolerance, what)
        for name, state in case.states_of(case.frames[:, order]).items():
            wanted = {key: value[:, order] for key, value in tokens_of(case.states[name]).items()}
            same(tokens_of(state), wanted, case.tolerance, f"{what}, at {name}")


def check_batch(case: Case) -> None:
    """A clip does not know what else is in its batch."""
    for clip in range(len(case.frames)):
        part = slice(clip, clip + 1)
        expected = {name: value[part] for name, value in tensors(case.whole).items()}
        found = tensors(case.network.reconstruct(case.frames[part]))
        same(found, expected, case.tolerance, f"{case.name}: clip {clip} alone instead of in a batch")


def check_gradient(case: Case) -> None:
    """A gradient of the depth reaches the tokens of every view, with recomputed blocks too."""
    for name in spread((point.name for point in case.points), MANY):
        gradients = [_gradient(case, name, recomputed) for recomputed in (False, True)]
        for clip, view in ((c, v) for c in range(len(case.frames)) for v in range(case.frames.shape[1])):
            own = gradients[0][clip, view]
            must(
                bool(own.isfinite().all()) and float(own.abs().max()) > 0,
                f"{case.name}: the gradient of the depth by the tokens of view {view} at {name} is 0 or not finite",
            )
        what = f"{case.name}: gradient at {name} with gradient_checkpointing"
        same({"tokens": gradients[1]}, {"tokens": gradients[0]}, case.tolerance, what)


def check_dropping(case: Case) -> None:
    """What is dropped before a point is not missed behind it; entries before it are refused."""
    # What frames alone do not need, as what encodes known cameras, is not looked at.
    idle = _unused(deepcopy(case.network), lambda network: network.reconstruct(case.frames))[1]
    for name in spread((point.name for point in case.points), MANY):
        part = deepcopy(case.network)
        part.drop_before(name)
        found, unused = _unused(part, partial(_entered, case, name))
        case.expect(found, f"entered at {name} after drop_before")
        more = ", ".join(sorted(unused - idle)[:3])
        must(not more, f"{case.name}: drop_before({name!r}) left {more}, which nothing behind uses")
        left, all_of_them = (sum(p.numel() for p in network.parameters()) for network in (part, case.network))
        must(left < all_of_them, f"{case.name}: drop_before({name!r}) dropped no parameter")
        must(
            refused(lambda part=part: part.reconstruct(case.frames), RuntimeError),  # type: ignore[misc]
            f"{case.name}: after drop_before({name!r}) frames go in, and nothing was said; expected a RuntimeError",
        )
        case.expect(_reloaded(part).reconstruct_from(case.states[name], case.size, rgb=case.frames), "stored and read")


def check_files(case: Case) -> None:
    """``save_pretrained`` and ``from_pretrained`` give the network back."""
    again = _reloaded(case.network)
    must(again.config == case.network.config, f"{case.name}: from_pretrained gives another config")
    case.expect(again.reconstruct(case.frames), "stored and read")


def check_precision(case: Case) -> None:
    """``mixed_precision`` narrows matrices of the trunk alone, and results stay close and float32."""
    exact, mixed = deepcopy(case.network).float(), deepcopy(case.network).float().mixed_precision()
    trunk = {id(p) for name in mixed.trunk_parts for p in getattr(mixed, name).parameters()}
    narrow = {id(p) for p in mixed.parameters() if p.dtype == torch.bfloat16}
    must(bool(narrow), f"{case.name}: mixed_precision narrows nothing (trunk_parts {mixed.trunk_parts})")
    must(narrow <= trunk, f"{case.name}: mixed_precision narrows parameters outside of trunk_parts")
    frames = case.frames.float()
    found, wanted = tensors(mixed.reconstruct(frames)), tensors(exact.reconstruct(frames))
    for name in ("depth", "points"):
        must(found[name].dtype == torch.float32, f"{case.name}: {name} of mixed_precision is {found[name].dtype}")
        error = float((found[name] - wanted[name]).square().mean().sqrt() / wanted[name].square().mean().sqrt())
        must(error <= ROUGH, f"{case.name}: {name} of mixed_precision is off by {error:.2g}; allowed: {ROUGH}")


def check_input_size(case: Case) -> None:
    """With ``input_size`` frames of any size are resized on the way in, wherever frames go in."""
    height, width = case.size
    large = resize_frames(case.frames, (2 * height, height + width))
    small = resize_frames(large, case.size)
    wanted, states = case.network.reconstruct(small), case.states_of(small)
    network = deepcopy(case.network)
    network.input_size = case.size
    case.expect(network.reconstruct(large), "frames of another size with input_size", wanted)
    for name, state in network.tokens_at(list(states), large).items():
        same(
            tokens_of(state), tokens_of(states[name]), case.tolerance, f"{case.name}: tokens at {name} with input_size"
        )
    first = case.points[0].name
    found = network.reconstruct_from(states[first], case.size, rgb=large)
    case.expect(found, "rgb of another size with input_size", wanted)


CHECKS: Sequence[Callable[[Case], None]] = (
    check_shapes, check_cameras, check_depth, check_content, check_entry, check_states, check_rgb, check_places, check_batch,
    check_gradient, check_dropping, check_files, check_precision, check_input_size,
)  # fmt: skip
"""What :func:`check_network` tries, in its order."""


@torch.enable_grad()
def _gradient(case: Case, name: str, recomputed: bool) -> Tensor:
    network = deepcopy(case.network)
    network.gradient_checkpointing = recomputed
    tokens = case.states[name].patch_tokens.detach().requires_grad_(True)
    depth = network.reconstruct_from(replace(case.states[name], patch_tokens=tokens), case.size, rgb=case.frames).depth
    # Random signs, as gradients may cancel in a plain sum.
    signs = torch.rand(depth.shape, generator=torch.Generator().manual_seed(1)).to(depth) - 0.5
    must(depth.requires_grad, f"{case.name}: the depth has no gradient by the tokens at {name}")
    return torch.autograd.grad((depth * signs).sum(), tokens, materialize_grads=True)[0]


def _entered(case: Case, name: str, network: EnterableNetwork[Any]) -> Reconstruction:
    return network.reconstruct_from(case.states[name], case.size, rgb=case.frames)


@torch.enable_grad()
def _unused(
    network: EnterableNetwork[Any], run: Callable[[EnterableNetwork[Any]], Reconstruction]
) -> tuple[Reconstruction, set[str]]:
    """A result, and the parameters that it does not depend on."""
    found = run(network.requires_grad_(True))
    # One backward pass marks every parameter that any output depends on.
    sum(value.mean() for value in tensors(found).values()).backward()  # type: ignore[union-attr]
    return found, {name for name, parameter in network.named_parameters() if parameter.grad is None}


def _reloaded(network: EnterableNetwork[Any]) -> EnterableNetwork[Any]:
    with TemporaryDirectory() as folder:
        network.save_pretrained(Path(folder))
        again = type(network).from_pretrained(Path(folder), next(network.parameters()).dtype)
    again.one_gaussian_per_pixel()
    return again

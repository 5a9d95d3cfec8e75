"""MV-DUSt3R and MV-DUSt3R+ against the stored outputs of the reference implementation."""

from pathlib import Path

import pytest
import torch
from parity_cases import Case, check, check_layout, error, load_case, quaternion_error, read_layout, require
from torch import Tensor

from vist3a.networks.blocks.mvdust3r_config import MVDust3rConfig
from vist3a.networks.blocks.mvdust3r_decoder import slot_order
from vist3a.networks.blocks.mvdust3r_heads import SCALE_FACTOR, points_and_confidence
from vist3a.networks.mvdust3r import MVDUST3R, MVDUST3R_PLUS, MVDust3r
from vist3a.records import TokenState

QUATERNION_BOUND = 3e-5
STAGES = {"encoder_block": "encoder", "decoder_layer": "decoder.layer"}
WHOLE_STAGES = {"encoder_norm": "encoder.norm", "decoder_embed": "decoder.embed"}


@pytest.fixture(scope="module", params=["mvdust3r", "mvdust3r_plus"])
def case(request: pytest.FixtureRequest, parity_root: Path) -> Case:
    return load_case(parity_root, request.param)


@pytest.fixture(scope="module")
def network(case: Case) -> MVDust3r:
    sizes = case.config
    config = MVDust3rConfig(
        patch_size=sizes["patch_size"],
        embed_dim=sizes["enc_embed_dim"],
        encoder_depth=sizes["enc_depth"],
        encoder_heads=sizes["enc_num_heads"],
        decoder_dim=sizes["dec_embed_dim"],
        decoder_depth=sizes["dec_depth"],
        decoder_heads=sizes["dec_num_heads"],
        mlp_ratio=float(sizes["fixed"]["mlp_ratio"]),
        references=sizes["n_ref"] or 1,
        skip_dim=sizes["skip_dim"],
        gaussian_dim=sizes["gs_mlp_dim"],
    )
    network = MVDust3r(config).eval()
    network.load_public_state_dict(case.weights)
    return network


def frames(case: Case) -> Tensor:
    return (case.frames + 1) / 2


def paths(tokens: Tensor, references: int) -> Tensor:
    """A decoder state ``[B, V, N, R * C]`` in the stored layout: ``[V, B, N, C]``, or ``[R, V, B, N, C]`` for R > 1."""
    parts = tokens.unflatten(3, (references, -1)).permute(3, 1, 0, 2, 4)
    return parts[0] if references == 1 else parts


def outputs(network: MVDust3r, last: Tensor, rgb: Tensor) -> dict[str, Tensor]:
    """Every path's maps in the stored layout: slots, then rows b * R + r, then the map."""
    grid = network.token_grid(*rgb.shape[-2:])
    rows: dict[str, list[Tensor]] = {}
    order = slot_order(network.config.references, rgb.shape[1])
    for path, tokens in enumerate(last.unflatten(3, (network.config.references, -1)).unbind(3)):
        raw, features = network.raw_maps(tokens[:, order[path]].unflatten(2, grid), rgb[:, order[path]])
        assert features is not None
        points, confidence = points_and_confidence(raw)
        colour, opacity, scale, rotation = features.movedim(2, -1).split([3, 1, 3, 4], dim=-1)
        found = {
            "pts3d": points,
            "conf": confidence,
            "rgb": colour,
            "opacity": opacity.sigmoid(),
            "scale": SCALE_FACTOR * scale,
            "rotation": rotation / rotation.norm(dim=-1, keepdim=True).clamp(min=1e-5),
        }
        for key, value in found.items():
            rows.setdefault(key, []).append(value)
    return {key: torch.stack(values, dim=1).flatten(0, 1).transpose(0, 1) for key, values in rows.items()}


def check_outputs(found: dict[str, Tensor], stored: dict[str, Tensor], prefix: str) -> int:
    compared = check({key: value for key, value in found.items() if key != "rotation"}, stored, prefix)
    if f"{prefix}rotation" in stored:
        assert quaternion_error(found["rotation"], stored[f"{prefix}rotation"]) <= QUATERNION_BOUND
        compared += 1
    return compared


def test_every_output_matches(network: MVDust3r, case: Case) -> None:
    with torch.no_grad():
        taps, _ = network.trunk(frames(case))
        found = outputs(network, taps[network.config.decoder_depth - 1], frames(case))
    stored = {key.removeprefix("out.") for key in case.io if key.startswith("out.")}
    assert check_outputs(found, case.io, "out.") == len(stored) > 0


def test_the_record_holds_the_first_path(network: MVDust3r, case: Case) -> None:
    with torch.no_grad():
        result = network.reconstruct(frames(case))
    references, batch = network.config.references, case.config["B"]
    first = {key: value[:, ::references] for key, value in case.io.items() if key.startswith("out.")}
    assert first["out.conf"].shape[1] == batch
    assert error(result.points.transpose(0, 1), first["out.pts3d"]) <= 1e-5
    assert error(result.points_confidence.transpose(0, 1), first["out.conf"]) <= 1e-5
    gaussians = result.gaussians
    assert gaussians is not None

    def flat(name: str) -> Tensor:
        return first[f"out.{name}"].transpose(0, 1).flatten(1, 3)

    assert error(gaussians.means, flat("pts3d")) <= 1e-5
    assert error(gaussians.opacities, flat("opacity").squeeze(-1)) <= 1e-5
    assert quaternion_error(gaussians.rotations, flat("rotation")) <= QUATERNION_BOUND
    unit = flat("pts3d").norm(dim=-1).mean(dim=1)[:, None, None]
    # Clipping leaves little of the range, to which the bound is relative.
    clipped = (flat("scale") / unit).clamp(1e-4, 4e-3) * unit
    assert float((gaussians.scales - clipped).abs().max()) <= 1e-5 * float(flat("scale").abs().max())
    colours = 0.5 + 0.28209479177387814 * gaussians.harmonics[..., 0, :]
    assert error(colours, frames(case).movedim(2, -1).flatten(1, 3)) <= 1e-5


def test_every_stored_activation_matches(network: MVDust3r, case: Case) -> None:
    references = network.config.references
    inner: dict[str, Tensor] = {}

    def before_same_view(layer: int):  # type: ignore[no-untyped-def]
        def keep(_: object, args: tuple[Tensor, ...]) -> None:
            by_view = args[0].unflatten(0, case.frames.shape[:2])
            inner[f"act.decoder.layer.{layer:02d}.before_same_view"] = by_view.permute(2, 1, 0, 3, 4)

        return keep

    hooks = [
        network.enc_blocks[0].register_forward_pre_hook(
            lambda _, args: inner.update({"act.encoder.in": args[0].unflatten(0, case.frames.shape[:2])})
        ),
        *(
            block.register_forward_pre_hook(before_same_view(layer))
            for layer, block in enumerate(network.dec_same_view_blocks)
        ),
    ]
    with torch.no_grad():
        taps, states = network.trunk(frames(case), [point.name for point in network.stages])
        normed = network.dec_norm(taps[network.config.decoder_depth - 1].unflatten(3, (references, -1)))
    for hook in hooks:
        hook.remove()
    # Stored encoder rows are v * B + b.
    inner["act.encoder.in"] = inner["act.encoder.in"].transpose(0, 1).flatten(0, 1)
    for name, state in states.items():
        tokens = state.patch_tokens.flatten(2, 3)
        if name.startswith("decoder.layer"):
            inner[f"act.{name}"] = paths(tokens, references)
        elif name == "decoder.embed":
            inner[f"act.{name}"] = tokens.transpose(0, 1)
        else:
            key = "norm" if name == "encoder.norm" else f"block.{name.removeprefix('encoder.')}"
            inner[f"act.encoder.{key}"] = tokens.transpose(0, 1).flatten(0, 1)
    inner["act.decoder.norm"] = normed.permute(1, 0, 3, 2, 4).flatten(1, 2)
    stored = [key for key in case.io if key.startswith("act.")]
    require(stored, "activations")
    assert set(stored) <= set(inner)
    assert check(inner, case.io, "") == len(stored)


def test_exact_entry_matches(network: MVDust3r, case: Case) -> None:
    batch, views, _, height, width = case.frames.shape
    grid = network.token_grid(height, width)
    runs = [key for key in case.entry if key.endswith(".tokens")]
    require(runs, "exact entries")
    for key in runs:
        run, tensor, _ = key.split(".")
        tokens = case.entry[key]
        if tensor in WHOLE_STAGES:
            point = WHOLE_STAGES[tensor]
        else:
            kind, number = tensor.rsplit("_", 1)
            point = f"{STAGES[kind]}.{number}"
        if tensor.startswith("encoder"):
            tokens = tokens.unflatten(0, (views, batch)).transpose(0, 1)
        elif tensor == "decoder_embed":
            tokens = tokens.transpose(0, 1)
        else:
            tokens = tokens.reshape(network.config.references, views, batch, *tokens.shape[-2:])
            tokens = tokens.permute(2, 1, 3, 0, 4).flatten(3)
        state = TokenState(point, tokens.unflatten(2, grid), tokens.new_zeros(batch, views, 0, tokens.shape[-1]))
        with torch.no_grad():
            taps, _ = network.run_from(state, (height, width))
            found = outputs(network, taps[network.config.decoder_depth - 1], frames(case))
        stored = [name for name in case.entry if name.startswith(f"{run}.out.")]
        assert check_outputs(found, case.entry, f"{run}.out.") == len(stored) > 0


@pytest.mark.parametrize(("name", "config"), [("mvdust3r", MVDUST3R), ("mvdust3r_plus", MVDUST3R_PLUS)])
def test_full_size_layout_is_the_published_one(parity_root: Path, name: str, config: MVDust3rConfig) -> None:
    with torch.device("meta"):
        network = MVDust3r(config)
    layout = load_case(parity_root, name).folder / f"layout_{name}.json"
    check_layout(network, layout, unbuilt=MVDust3r.ignored_public_prefixes)
    types = {key: value["dtype"] for key, value in read_layout(layout).items()}
    assert {key: str(value.dtype).removeprefix("torch.") for key, value in network.state_dict().items()} == {
        key: dtype for key, dtype in types.items() if key != "mask_token"
    }

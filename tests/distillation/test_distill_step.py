"""Steps of distillation: what a batch is cut from, and the gradient against one graph of the paper's objective."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from stitching.test_decoder import SIZE, fitted
from tiny_networks import tiny_generator, tiny_network
from torch import Tensor
from torch.nn import functional

from vist3a.distillation.distill import DistillSettings, distill
from vist3a.distillation.distill_loss import DistillWeights, distill_terms, feature_distance, weighted
from vist3a.distillation.match_outputs import _batch
from vist3a.records import Cameras, Clip, Reconstruction, TokenState
from vist3a.runtime.loop import LoopConfig, step_generator
from vist3a.stitching.decoder import StitchedDecoder
from vist3a.stitching.tuning import prepare

POINTS = ("encoder.norm", "aggregator.global.03")
MOMENTUM = 0.9


def numbered(lengths: tuple[int, ...], width: int = 2) -> list[Clip]:
    """Clips whose pixels say which clip, view and column they are of: hundreds, ones, tenths."""
    columns = torch.arange(width) / 10
    return [
        Clip(str(c), (100 * c + torch.arange(n).float())[:, None, None, None] + columns.expand(n, 3, 2, width))
        for c, n in enumerate(lengths)
    ]


def settings_of(batch: int, views: tuple[int, ...], **others: Any) -> DistillSettings:
    return DistillSettings(
        **{"seed": 0, "batch": batch, "views": views, "loop": LoopConfig(1, 0.0, ema=None), **others}
    )


@pytest.mark.parametrize("mirror", [False, True])
def test_a_batch_is_cut_anywhere_and_from_every_clip(mirror: bool) -> None:
    """Views follow each other; every start and length that fits is drawn; a mirrored batch runs and looks both ways."""
    clips = numbered((9, 13, 6))
    starts: dict[tuple[int, int], set[int]] = {}
    ways, seen = set(), set()
    for step in range(400):
        cut = _batch(clips, settings_of(2, (5, 9, 13), mirror=mirror), step_generator(0, step))
        for part in cut:
            assert part.shape[1:] == (3, 2, 2)
            first = part[:, 0, 0]
            clip = int(first[0, 0]) // 100
            views, columns = first[:, 0].int() - 100 * clip, (first[0, :] % 1 * 10).round().int()
            steps = set(views.diff().tolist())
            assert steps in ({1}, {-1}) and set(columns.tolist()) == {0, 1}
            ways.add((steps.pop(), int(columns[0])))
            starts.setdefault((clip, len(views)), set()).add(int(views.min()))
        seen.add(cut.shape[1])
    assert seen == {5, 9, 13}
    assert ways == ({(1, 0), (1, 1), (-1, 0), (-1, 1)} if mirror else {(1, 0)})
    assert starts[0, 5] == set(range(5)) and starts[1, 5] == set(range(9)) and starts[2, 5] == {0, 1}
    assert starts[0, 9] == {0} and starts[1, 9] == set(range(5)) and (2, 9) not in starts


def test_clips_that_are_too_short_for_all_lengths_come_whole() -> None:
    cut = _batch(numbered((3, 4)), settings_of(3, (5, 9)), step_generator(0, 1))
    assert cut.shape[:2] == (3, 3) or cut.shape[:2] == (3, 4)


def student() -> StitchedDecoder:
    """Far from the teacher, so that no gradient vanishes."""
    fit, spec = fitted()
    noise = torch.randn(fit.weight.shape, generator=torch.Generator().manual_seed(1))
    decoder = StitchedDecoder(tiny_network(), spec, dataclasses.replace(fit, weight=0.3 * noise)).double()
    prepare(decoder, "full", 0, 0.0)
    return decoder


def scenes() -> list[Clip]:
    random = torch.Generator().manual_seed(3)
    return [Clip(str(i), torch.rand(length, 3, *SIZE, generator=random).double()) for i, length in enumerate((9, 6))]


def test_the_gradient_is_that_of_the_distance_to_the_original_on_the_true_frames(tmp_path: Path) -> None:
    """Two steps; heads are compared in the first alone, as they are in every second."""
    chosen = {"pose": 0.7, "depth": 2.0, "points": 0.3, "scales": 5.0, "anchor_features": 0.25, "features": 0.5}
    weights = DistillWeights(
        **{field.name: chosen.get(field.name, 0.0) for field in dataclasses.fields(DistillWeights)}
    )
    loop = LoopConfig(
        2, 0.0, warmup=0, weight_decay=0.0, betas=(MOMENTUM, 0.99), gradient_clip=1e12, log_every=1, ema=None
    )
    settings = settings_of(2, (5,), features=POINTS, heads_every=2, weights=weights, loop=loop)
    generator, teacher, decoder = tiny_generator(), tiny_network(seed=4), student()
    logged: dict[int, dict[str, float]] = {}
    distill(
        decoder, teacher, generator, scenes(), dataclasses.replace(settings, seed=7), folder=tmp_path,
        logs=lambda _: lambda step, scalars: logged.update({step - 1: dict(scalars)}),
    )  # fmt: skip
    state = torch.load(tmp_path / "loop.pt", weights_only=True)
    moments = {key: own["exp_avg"] for key, own in state["optimizers"][0]["state"].items()}
    # Gains and biases of one axis are in a group of their own, behind all others.
    ordered = sorted(state["parameters"], key=lambda name: state["parameters"][name].ndim < 2)
    found = {name: moments[i] for i, name in enumerate(ordered) if i in moments}
    expected: dict[str, Tensor] = {}
    decoder = student()
    decoder.network.one_gaussian_per_pixel()
    teacher.one_gaussian_per_pixel()
    for step in range(2):
        frames = _batch(scenes(), settings, step_generator(7, step))
        latents = generator.encode(frames)
        entered, target = (
            decoder.network.run_from(decoder.state(latents), SIZE, keep=list(POINTS))[1],
            teacher.trunk(frames, keep=list(POINTS))[1],
        )
        terms = {"features": states_apart(entered, target)}
        if step == 0:
            a, b = decoder(latents, SIZE, frames), teacher.reconstruct(frames)
            assert a.gaussians is not None and b.gaussians is not None
            assert a.gaussian_features is not None and b.gaussian_features is not None
            terms |= {
                "pose": (a.pose_encodings - b.pose_encodings).abs().mean(),
                "depth": (a.depth - b.depth).abs().mean(),
                "points": (a.points - b.points).abs().mean(),
                "scales": (a.gaussians.scales - b.gaussians.scales).abs().mean(),
                "anchor_features": (a.gaussian_features - b.gaussian_features).abs().mean(),
            }
        loss = sum(getattr(weights, name) * value for name, value in terms.items())
        assert isinstance(loss, Tensor)
        decoder.zero_grad()
        loss.backward()
        assert logged[step]["loss"] == pytest.approx(loss.item(), rel=1e-5)
        for name, value in terms.items():
            assert logged[step][name] == pytest.approx(value.item(), rel=1e-5), name
        for name, parameter in decoder.named_parameters():
            if parameter.grad is not None:
                key = f"student.{name}"
                expected[key] = MOMENTUM * expected.get(key, torch.zeros(())) + (1 - MOMENTUM) * parameter.grad
    assert sum(float(value.norm()) > 0 for value in expected.values()) > 20
    for name, value in expected.items():
        if float(value.norm()) > 0:
            assert float((found[name] - value).norm()) <= 1e-5 * float(value.norm()), name
    assert {"pose", "depth", "scales", "features"} <= logged[0].keys()


def states_apart(own: dict[str, TokenState], target: dict[str, TokenState]) -> Tensor:
    """Smooth l1, quadratic below 1, of differences in units of the standard deviation of the target's patch tokens."""
    distances = []
    for name in POINTS:
        scale = target[name].patch_tokens.std()
        for kind in ("patch_tokens", "special_tokens"):
            if not getattr(target[name], kind).numel():
                continue
            difference = ((getattr(own[name], kind) - getattr(target[name], kind)) / scale).abs()
            distances.append(torch.where(difference < 1, difference.square() / 2, difference - 0.5).mean())
    return sum(distances) / len(distances)  # type: ignore[return-value]


def test_states_before_the_entry_are_left_out_and_nothing_to_learn_from_is_refused() -> None:
    generator, teacher, decoder = tiny_generator(), tiny_network(seed=4), student()
    logged: dict[str, float] = {}
    settings = settings_of(1, (5,), features=("encoder.00", "encoder.01"), weights=DistillWeights(features=1.0),
                    loop=LoopConfig(1, 0.0, warmup=0, log_every=1, ema=None))  # fmt: skip
    arguments = (decoder, teacher, generator)
    distill(*arguments, scenes(), settings, logs=lambda _: lambda _, scalars: logged.update(scalars))
    assert "features" not in logged and logged["depth"] > 0
    with pytest.raises(ValueError, match="at least one clip in the fit split"):
        distill(*arguments, [], settings)


def outputs(seed: int):
    return tiny_network().reconstruct(
        torch.rand(1, 5, 3, *SIZE, generator=torch.Generator().manual_seed(seed)).double()
    )


def test_every_term_is_a_mean_of_absolute_differences_value_by_value() -> None:
    """What rises here and falls there is not the same: no term compares means."""
    a, b = outputs(1), outputs(2)
    assert a.gaussians is not None and b.gaussians is not None
    terms = distill_terms(a, b)
    pairs = {"confidence": (a.depth_confidence, b.depth_confidence), "points": (a.points, b.points),
             "scales": (a.gaussians.scales, b.gaussians.scales)}  # fmt: skip
    for name, (one, other) in pairs.items():
        torch.testing.assert_close(terms[name], functional.l1_loss(one, other))
    means = torch.tensor([-1.0, 1.0]).repeat(a.gaussians.scales.shape[1] // 2)[None, :, None].double()
    same = dataclasses.replace(a.gaussians, scales=a.gaussians.scales + 0.5 * means)
    found = distill_terms(dataclasses.replace(a, gaussians=same), a)
    torch.testing.assert_close(found["scales"], torch.tensor(0.5).double())
    without = dataclasses.replace(a, gaussians=None, gaussian_features=None)
    for one, other in ((without, b), (b, without)):
        assert not {"gaussians", "scales", "anchor_features"} & distill_terms(one, other).keys()


def with_depth(depth: Tensor) -> Reconstruction:
    """[rows, columns], in one view; everything else is the same for all."""
    maps = depth.double().expand(1, 1, *depth.shape)
    cameras = Cameras(torch.eye(4).double().expand(1, 1, 4, 4), torch.eye(3).double().expand(1, 1, 3, 3))
    points = torch.zeros(*maps.shape, 3).double()
    return Reconstruction(cameras, maps, maps * 0 + 1, points, maps * 0 + 1, torch.zeros(1, 1, 1, 9).double())


def gradient_term(depth: Tensor, other: Tensor) -> float:
    return float(distill_terms(with_depth(depth), with_depth(other))["depth_gradient"])


@pytest.mark.parametrize("shape", [(32, 1), (1, 32)])
def test_the_depth_gradient_sees_coarse_scales(shape: tuple[int, int]) -> None:
    """A ripple of two pixels is a gradient at the finest scale alone, a ramp has one at every scale, which grows with it.

    From pixel to pixel both have the same steps; only the coarser scales tell them apart.
    """
    place, flat = torch.arange(32).double().view(shape).expand(32, 32), torch.ones(32, 32)
    ripple = gradient_term(1 + 0.1 * (place % 2), flat)
    # At strides of 1, 2, 4 and 8 lie 31, 15, 7 and 3 steps between 32, 16, 8 and 4 pixels; scales are sums over pixels.
    shares, unit = (31 / 32, 15 / 16, 7 / 8, 3 / 4), ripple / (31 / 32)
    # Steps of 0.1, 0.2, 0.4 and 0.8, against the ripple's one of 0.1.
    ramp = unit * sum(2**level * share for level, share in enumerate(shares))
    assert gradient_term(1 + 0.1 * place, flat) == pytest.approx(ramp) and ripple > 0
    assert gradient_term(1 - 0.2 * place, flat) == pytest.approx(2 * ramp), "falling is rising"
    assert gradient_term(flat + 3, flat) == 0
    # What both have is no difference, and an edge counts for a gradient of a hundred at most.
    assert gradient_term(1 + 0.1 * (place % 2) + place, 1 + place) == pytest.approx(ripple)
    assert gradient_term(1 + 1e6 * (place % 2), flat) == pytest.approx(1000 * ripple)
    # Only ripples of four and eight pixels are seen at strides of two and four.
    steps = [gradient_term(1 + 0.1 * (place // width % 2), flat) for width in (2, 4)]
    assert steps == pytest.approx([unit * (15 / 32 + 15 / 16), unit * (7 / 32 + 7 / 16 + 7 / 8)])


def test_a_picture_of_one_row_has_no_gradient() -> None:
    """Two rows have one scale."""
    for shape in ((1, 8), (8, 1)):
        assert gradient_term(torch.rand(shape), torch.rand(shape)) == 0
    assert gradient_term(torch.tensor([[1.0, 1.0], [2.0, 2.0]]), torch.ones(2, 2)) > 0


def test_states_are_compared_in_units_of_the_teachers_spread() -> None:
    random = torch.Generator().manual_seed(0)
    target = TokenState(
        "p",
        3 * torch.randn(2, 3, 2, 2, 8, generator=random).double(),
        torch.randn(2, 3, 4, 8, generator=random).double(),
    )
    scale = target.patch_tokens.std()
    own = TokenState("p", target.patch_tokens + 2 * scale, target.special_tokens - 0.5 * scale)
    expected = (1.5 + 0.125) / 2  # |2| - 1/2, and 0.5 squared and halved
    assert float(feature_distance({"p": own, "q": own}, {"p": target})) == pytest.approx(expected)
    bare = TokenState("p", target.patch_tokens, target.special_tokens[:, :, :0])
    assert float(
        feature_distance({"p": dataclasses.replace(bare, patch_tokens=own.patch_tokens)}, {"p": bare})
    ) == pytest.approx(1.5)
    constant = TokenState("p", torch.ones(1, 1, 2, 2, 8), torch.zeros(1, 1, 0, 8))
    assert float(feature_distance({"p": constant}, {"p": constant})) == 0


def test_the_weights_are_the_papers() -> None:
    one = torch.ones(())
    terms = dict.fromkeys(
        ("pose", "depth", "depth_gradient", "confidence", "gaussians", "scales", "anchor_features"), one
    )
    assert float(weighted(terms, DistillWeights())) == pytest.approx(1 + 1 + 5e-3 + 1e-2 + 1 + 10 + 0.1)
    others = {field.name for field in dataclasses.fields(DistillWeights)} - terms.keys() - {"gaussian_confidence"}
    assert {"points", "extrinsics", "intrinsics", "features"} < others
    assert float(weighted(dict.fromkeys(others, one), DistillWeights())) == 0
    assert float(weighted({"gaussian_confidence": one}, DistillWeights())) == pytest.approx(1e-2)

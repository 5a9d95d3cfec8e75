"""The kit of 3D networks: it passes a network from outside, and says what is wrong with broken ones."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
import torch
from example_packages import EXAMPLES
from torch import Tensor

from vist3a.records import Cameras, Reconstruction, TokenState
from vist3a.testing.networks import check_network

sys.path.insert(0, str(EXAMPLES / "equivariant_network"))
from equivariant_network import EquivariantConfig, EquivariantNetwork

SMALL = EquivariantConfig(embed_dim=16, decoder_depth=2)


def test_the_example_keeps_the_contract() -> None:
    check_network(lambda: seeded(EquivariantNetwork, EquivariantConfig()))


def test_a_network_that_reads_the_image_keeps_the_contract() -> None:
    check_network(lambda: seeded(ReadsImage))


def seeded(kind: type[EquivariantNetwork], config: EquivariantConfig = SMALL) -> EquivariantNetwork:
    torch.manual_seed(0)
    return kind(config)


class ReadsImage(EquivariantNetwork):
    needs_rgb = True

    def heads(self, taps: Any, size: Any, rgb: Any = None, with_gaussians: bool = True) -> Reconstruction:
        result = super().heads(taps, size, rgb, with_gaussians)
        return replace(result, points_confidence=1 + self.require_rgb(rgb, with_gaussians).mean(2))


class EntersOneBlockEarly(EquivariantNetwork):
    def run(self, tokens: Tensor, grid: Any, first: int, *rest: Any) -> Any:
        return super().run(tokens, grid, first - 1 if first >= 1 else first, *rest)


class KnowsItsBatch(EquivariantNetwork):
    def advance(self, stage: int, tokens: Tensor, grid: Any) -> Tensor:
        return super().advance(stage, tokens - 0.1 * tokens.mean(0, keepdim=True), grid)


class SwapsViews(EquivariantNetwork):
    def heads(self, taps: Any, *rest: Any, **named: Any) -> Reconstruction:
        return super().heads({stage: tokens.flip(1) for stage, tokens in taps.items()}, *rest, **named)


class SwapsTokens(EquivariantNetwork):
    """There and back again: what enters is right, and what a stitch layer would be fitted to belongs to another view."""

    def tokens_at(self, points: Any, frames: Tensor, **known: Any) -> Any:
        return {name: flipped(state) for name, state in super().tokens_at(points, frames, **known).items()}

    def run_from(self, state: TokenState, *rest: Any, **named: Any) -> Any:
        taps, states = super().run_from(flipped(state), *rest, **named)
        return taps, {name: flipped(found) for name, found in states.items()}


def flipped(state: TokenState) -> TokenState:
    return TokenState(
        state.point,
        state.patch_tokens.flip(1),
        state.special_tokens.flip(1),
        {k: t.flip(1) for k, t in state.taps.items()},
    )


class NormalizesTwice(EquivariantNetwork):
    def tokens_at(self, points: Any, frames: Tensor, **known: Any) -> Any:
        return super().tokens_at(points, 2 * frames - 1, **known)


class OtherDepthScale(EquivariantNetwork):
    def heads(self, *given: Any, **named: Any) -> Reconstruction:
        result = super().heads(*given, **named)
        return replace(result, depth=1.01 * result.depth)


class DepthBehindCameras(EquivariantNetwork):
    def heads(self, *given: Any, **named: Any) -> Reconstruction:
        result = super().heads(*given, **named)
        return replace(result, depth=-result.depth)


class ScaledCameras(EquivariantNetwork):
    def heads(self, *given: Any, **named: Any) -> Reconstruction:
        result = super().heads(*given, **named)
        pose = result.cameras.world_to_camera.clone()
        pose[..., :3, :] *= 1.1
        return replace(result, cameras=Cameras(pose, result.cameras.intrinsics))


class InvertedCameras(EquivariantNetwork):
    def heads(self, *given: Any, **named: Any) -> Reconstruction:
        result = super().heads(*given, **named)
        return replace(result, cameras=Cameras(result.cameras.camera_to_world, result.cameras.intrinsics))


class SaysTheFirstIsTheWorld(EquivariantNetwork):
    def origin_view(self, views: int) -> int | None:
        return 0


class IgnoresImageAtEntry(ReadsImage):
    def reconstruct_from(
        self, state: TokenState, size: Any, rgb: Any = None, *rest: Any, **known: Any
    ) -> Reconstruction:
        self.require_rgb(rgb, True)
        return super().reconstruct_from(state, size, torch.zeros_like(rgb), *rest, **known)


class AsksForNoImage(ReadsImage):
    def reconstruct_from(
        self, state: TokenState, size: Any, rgb: Any = None, *rest: Any, **known: Any
    ) -> Reconstruction:
        black = torch.zeros(*state.patch_tokens.shape[:2], 3, *size, dtype=state.patch_tokens.dtype)
        return super().reconstruct_from(state, size, black if rgb is None else rgb, *rest, **known)


class LosesRegisters(EquivariantNetwork):
    def part(self, tokens: Tensor, special: int) -> tuple[Tensor, Tensor]:
        registers, patches = super().part(tokens, special)
        return torch.zeros_like(registers), patches


class FavorsTheFirstView(EquivariantNetwork):
    def embed(self, frames: Tensor) -> Tensor:
        tokens = super().embed(frames)
        return torch.cat([tokens[:, :1] + 0.1, tokens[:, 1:]], dim=1)


class ForgetsTaps(EquivariantNetwork):
    def required_taps(self, stage: int) -> dict[int, tuple[int, int]]:
        return {}


class SaysViewsHaveNotMet(EquivariantNetwork):
    def __init__(self, config: EquivariantConfig) -> None:
        super().__init__(config)
        self.stages = tuple(replace(point, per_view=True) for point in self.stages)


class CutsGradients(EquivariantNetwork):
    def run_from(self, state: TokenState, *rest: Any, **named: Any) -> Any:
        return super().run_from(replace(state, patch_tokens=state.patch_tokens.detach()), *rest, **named)


class DropsTooMuch(EquivariantNetwork):
    def drop(self, stage: int) -> None:
        super().drop(min(stage + 1, len(self.stages) - 1))


class DropsTooLittle(EquivariantNetwork):
    def drop(self, stage: int) -> None:
        super().drop(max(stage - 1, 0))


class HoldsWhatIsNotStored(EquivariantNetwork):
    unstored = 0.0

    def embed(self, frames: Tensor) -> Tensor:
        return super().embed(frames) * (1 + self.unstored)

    def __init__(self, config: EquivariantConfig) -> None:
        super().__init__(config)
        self.unstored = float(not self.registers.is_meta)


class TakesFramesAsTheyCome(EquivariantNetwork):
    def fit(self, frames: Tensor) -> Tensor:
        return frames


class HasNoTrunk(EquivariantNetwork):
    trunk_parts = ()


class IsNeverTheSame(EquivariantNetwork):
    def embed(self, frames: Tensor) -> Tensor:
        return super().embed(frames + 0.01 * torch.rand_like(frames))


BROKEN = [
    (EntersOneBlockEarly, r"entered at encoder\.01 instead of run whole"),
    (KnowsItsBatch, r"clip 0 alone instead of in a batch"),
    (SwapsViews, r"views in the order \[1, 2, 3, 4, 0\]"),
    (SwapsTokens, r"tokens at encoder\.00"),
    (NormalizesTwice, r"entered at encoder\.00 instead of run whole"),
    (OtherDepthScale, r"z of the points in their cameras and depth"),
    (DepthBehindCameras, r"depth is not above 0 everywhere"),
    (ScaledCameras, r"rotations of cameras differ by 0\.21 from rigid ones"),
    (InvertedCameras, r"z of the points in their cameras and depth"),
    (SaysTheFirstIsTheWorld, r"the camera of view 0 differs by .* from the world"),
    (IgnoresImageAtEntry, r"entered at encoder\.00 instead of run whole: points_confidence"),
    (AsksForNoImage, r"entered without rgb, and nothing was said"),
    (LosesRegisters, r"entered at decoder\.00 instead of run whole"),
    (FavorsTheFirstView, r"tokens at encoder\.00 \(per_view\) of a view alone"),
    (ForgetsTaps, r"decoder\.01 is complete, but its state has taps"),
    (SaysViewsHaveNotMet, r"tokens at decoder\.01 \(per_view\) of a view alone"),
    (CutsGradients, r"the gradient of the depth by the tokens of view 0 at encoder\.00 is 0"),
    (DropsTooMuch, r"TypeError: .*; expected: What is dropped before a point is not missed"),
    (DropsTooLittle, r"drop_before\('encoder\.01'\) left blocks\.1\..*which nothing behind uses"),
    (HoldsWhatIsNotStored, r"stored and read"),
    (TakesFramesAsTheyCome, r"unflatten: .*; expected: With ``input_size`` frames of any size"),
    (HasNoTrunk, r"mixed_precision narrows nothing"),
    (IsNeverTheSame, r"a second run on the same frames"),
]


@pytest.mark.parametrize(("kind", "sentence"), BROKEN, ids=[kind.__name__ for kind, _ in BROKEN])
def test_broken_networks_are_found(kind: type[EquivariantNetwork], sentence: str) -> None:
    with pytest.raises(AssertionError, match=rf"^{kind.__name__}: .*{sentence}"):
        check_network(lambda: seeded(kind), views=5 if kind is SwapsViews else 4)


def test_kits_need_no_test_framework() -> None:
    program = "import sys; sys.modules['pytest'] = None; import vist3a.testing.networks"
    subprocess.run([sys.executable, "-c", program], check=True)

"""A reconstruction network with one block that is an exact linear function of video latents, and others that are not."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vist3a.generators.base import VideoGenerator
from vist3a.networks.base import ReconstructionModel
from vist3a.records import StitchPoint, TokenState
from vist3a.stitching.grids import StitchSpec, resample_and_pad


class PlantedNetwork(ReconstructionModel):
    """Blocks: noise that has nothing to do with the frames, the planted one, the planted one with noise."""

    patch_size = 8
    needs_rgb = False
    width = 6

    def __init__(self, generator: VideoGenerator, spec: StitchSpec) -> None:
        super().__init__()
        self.generator, self.spec = generator, spec
        random = torch.Generator().manual_seed(1)
        shape = (self.width, generator.channels, *spec.kernel)
        self.weight = nn.Parameter(torch.randn(shape, generator=random, dtype=torch.float64), requires_grad=False)
        self.constant = torch.randn(2, 2, self.width, generator=random, dtype=torch.float64)

    @property
    def stitch_points(self) -> tuple[StitchPoint, ...]:
        return tuple(StitchPoint(name, "encoder", self.width, 1, True) for name in ("noise", "planted", "both"))

    def tokens_at(self, points, frames: Tensor) -> dict[str, TokenState]:
        seen = resample_and_pad(self.generator.encode(frames), self.spec)
        planted = nn.functional.conv3d(seen, self.weight, stride=self.spec.stride).movedim(1, -1) + self.constant
        # Depends on the content of the clip only, so that it is the same in any batch.
        noise = torch.stack(
            [
                torch.randn(planted.shape[1:], generator=torch.Generator().manual_seed(int(clip.sum() * 1000)))
                for clip in frames
            ]
        ).to(planted)
        special = torch.zeros(*planted.shape[:2], 1, self.width, dtype=planted.dtype)
        tokens = {"noise": noise, "planted": planted, "both": planted + 0.5 * planted.std() * noise}
        return {name: TokenState(name, tokens[name], special) for name in points}

    def trunk(self, frames, keep=()):
        raise NotImplementedError

    def run_from(self, state, size, keep=(), until=None):
        raise NotImplementedError

    def heads(self, taps, size, rgb=None, with_gaussians=True):
        raise NotImplementedError

    def reconstruct(self, frames):
        raise NotImplementedError

    def reconstruct_from(self, state, size, rgb=None):
        raise NotImplementedError

    def drop_before(self, point):
        raise NotImplementedError

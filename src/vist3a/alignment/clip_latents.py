"""Latents of training clips, encoded when they are first drawn and kept from then on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.generators.base import VideoGenerator
from vist3a.records import Clip


class ClipLatents:
    """Normalised latents of the first frames of clips, in host memory (Wan, 13 frames: 39 times less than the frames).

    Every clip is encoded alone, so that its latents do not depend on the others of its step, nor on when a run was resumed.
    """

    def __init__(self, generator: VideoGenerator, clips: Sequence[Clip]) -> None:
        self.generator, self.clips = generator, clips
        self._known: dict[tuple[int, int], Tensor] = {}

    @torch.no_grad()
    def __call__(
        self, chosen: Sequence[int], length: int, device: torch.device
    ) -> Float[Tensor, "batch channels times rows columns"]:
        """Of the first ``length`` frames of each chosen clip, on ``device``."""
        for index in chosen:
            if (index, length) not in self._known:
                frames = self.clips[index].frames[None, :length].to(device)
                self._known[index, length] = self.generator.normalise(self.generator.encode(frames)).cpu()
        return torch.cat([self._known[index, length] for index in chosen]).to(device)

"""A text-image scorer with random weights: it costs next to nothing, and its gradient reaches every pixel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

WIDTH = 64


class RandomScorer(nn.Module):
    """Strided convolutions; a text is a vector drawn from its letters."""

    def __init__(self) -> None:
        super().__init__()
        sizes = (3, 32, WIDTH, WIDTH)
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(before, after, 3, stride=2, padding=1), nn.SiLU())
            for before, after in pairwise(sizes)
        )

    def embed_text(self, texts: Sequence[str]) -> Float[Tensor, "n dim"]:
        """Unit vectors, equal for equal texts."""
        # Not by hash(), which differs from process to process.
        drawn = [torch.randn(WIDTH, generator=torch.Generator().manual_seed(sum(text.encode()))) for text in texts]
        return nn.functional.normalize(torch.stack(drawn), dim=-1).to(next(self.parameters()).device)

    def score(self, images: Float[Tensor, "n 3 height width"], text: Float[Tensor, "n dim"]) -> Float[Tensor, " n"]:
        """Cosine similarity of pooled features of images in [0, 1] and the texts."""
        pooled = self.feature_maps(images * 2 - 1)[-1].mean((2, 3))
        return (nn.functional.normalize(pooled, dim=-1) * text).sum(-1)

    def feature_maps(self, images: Float[Tensor, "n 3 height width"]) -> list[Tensor]:
        """Feature maps of images in [-1, 1], finest first."""
        maps, x = [], images
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def verdict(self) -> Callable[[str, Tensor], bool] | None:
        """None: random weights see nothing."""
        return None

"""Two image towers of different architecture, so that the judge shares no inductive bias with the reward it checks."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn


class ConvTower(nn.Module):
    """Strided GroupNorm convolutions; :meth:`features` exposes the maps for a perceptual distance."""

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        stages, previous = [], 3
        for channel in channels:
            stages.append(
                nn.Sequential(
                    nn.Conv2d(previous, channel, 3, stride=2, padding=1),
                    nn.GroupNorm(8, channel),
                    nn.SiLU(),
                    nn.Conv2d(channel, channel, 3, padding=1),
                    nn.GroupNorm(8, channel),
                    nn.SiLU(),
                )
            )
            previous = channel
        self.stages = nn.ModuleList(stages)
        self.project = nn.Linear(previous * 16, width)

    def features(self, images: Float[Tensor, "n 3 height width"]) -> list[Tensor]:
        """Feature maps after every stage, finest first; images in [-1, 1]."""
        maps, x = [], images
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def forward(self, images: Float[Tensor, "n 3 height width"]) -> Float[Tensor, "n dim"]:
        """Image features; images in [-1, 1]."""
        # Pooled to 4 x 4 cells and no further: where things stand matters to a text.
        x = nn.functional.adaptive_avg_pool2d(self.features(images)[-1], 4)
        return self.project(x.flatten(1))


class HybridTower(nn.Module):
    """Convolutional stem to stride 8, then a transformer over the cells with attention pooling."""

    def __init__(self, stem: int, width: int, depth: int, heads: int, image_size: int) -> None:
        super().__init__()
        # A second convolution at each size: the shape of a small object is decided in a few pixels, before the strides.
        self.stem = nn.Sequential(
            nn.Conv2d(3, stem, 5, stride=2, padding=2),
            nn.GELU(),
            nn.Conv2d(stem, stem, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(stem, 2 * stem, 3, stride=2, padding=1),
            nn.GELU(),
            nn.Conv2d(2 * stem, 2 * stem, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(2 * stem, width, 3, stride=2, padding=1),
        )
        cells = (image_size // 8) ** 2
        self.position = nn.Parameter(nn.init.trunc_normal_(Tensor(1, cells + 1, width), std=0.02))
        self.token = nn.Parameter(nn.init.trunc_normal_(Tensor(1, 1, width), std=0.02))
        layer = nn.TransformerEncoderLayer(
            width, heads, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(layer, depth, nn.LayerNorm(width), enable_nested_tensor=False)

    def features(self, images: Float[Tensor, "n 3 height width"]) -> list[Tensor]:
        """Feature maps of the stem, finest first; images in [-1, 1]."""
        first = self.stem[:4](images)
        # The stem in two pieces, up to stride 2 and stride 4.
        return [first, self.stem[4:8](first)]

    def forward(self, images: Float[Tensor, "n 3 height width"]) -> Float[Tensor, "n dim"]:
        """Image features; images in [-1, 1] of the size the tower was built for."""
        cells = self.stem(images).flatten(2).transpose(1, 2)
        # An empty cell in front becomes the token that gathers the answer.
        tokens = nn.functional.pad(cells, (0, 0, 1, 0))
        tokens = tokens + self.position
        tokens[:, :1] = tokens[:, :1] + self.token
        return self.blocks(tokens)[:, 0]

"""Frames straight from latents, by one linear map: colour for heads that read the image, without the video decoder.

Every latent cell gives the block of pixels that it stands for, as a ridge regression on the latents around it. Such frames are
blurred copies; whether they serve a head is measured by ``benchmarks/linear_frames.py``.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from vist3a.generators.base import VideoGenerator
from vist3a.records import Clip
from vist3a.records.frame_size import resize_frames
from vist3a.stitching.grids import StitchSpec, derive_spec, patches, resample_and_pad


class LinearFrames(nn.Module):
    """A convolution from raw latents to blocks of ``block`` (height, width) pixels per cell, resized to ``size``."""

    def __init__(
        self,
        spec: StitchSpec,
        block: tuple[int, int],
        size: tuple[int, int],
        weight: Float[Tensor, "features pixels"],
        bias: Float[Tensor, " pixels"],
    ) -> None:
        super().__init__()
        self.spec, self.block, self.size = spec, block, size
        self.weight = nn.Parameter(weight.T.unflatten(1, (-1, *spec.kernel)).contiguous())
        self.bias = nn.Parameter(bias.clone())

    def forward(
        self, latents: Float[Tensor, "batch channels times rows columns"]
    ) -> Float[Tensor, "batch views 3 height width"]:
        """Frames in [0, 1]; differentiable."""
        x = resample_and_pad(latents.to(self.weight.dtype), self.spec)
        blocks = functional.conv3d(x, self.weight, self.bias, self.spec.stride).unflatten(1, (3, *self.block))
        # batch, rgb, block rows, block columns, views, rows, columns
        frames = blocks.permute(0, 4, 1, 5, 2, 6, 3).flatten(3, 4).flatten(4, 5)
        return resize_frames(frames, self.size).clamp(0, 1)


@torch.no_grad()
def fit_linear_frames(
    clips: Iterable[Clip],
    generator: VideoGenerator,
    size: tuple[int, int],
    device: torch.device,
    kernel: tuple[int, int, int] = (3, 3, 3),
    ridge: float = 1e-4,
) -> LinearFrames:
    """The map from latents to the frames that the video decoder makes of them, at ``size``, in one pass over ``clips``.

    Normal equations in float64 with an exact intercept; ``ridge`` is relative to their mean diagonal.
    """
    sums: list[Tensor] | None = None
    spec, block = None, (0, 0)
    for clip in clips:
        latents = generator.encode(clip.frames[None].to(device))
        rows, columns = latents.shape[-2:]
        if spec is None:
            spec = derive_spec((rows, columns), (rows, columns), generator.temporal_stride, kernel, "replicate")
            # Whole pixels per cell, rounded up: at least the wanted size, to which frames are resized.
            block = (-(-size[0] // rows), -(-size[1] // columns))
        x = patches(latents.double(), spec).flatten(0, 3)
        wanted = resize_frames(generator.decode(latents).double(), (rows * block[0], columns * block[1]))
        # batch, views, rgb, rows, block rows, columns, block columns
        cells = wanted.unflatten(4, (columns, block[1])).unflatten(3, (rows, block[0]))
        y = cells.permute(0, 1, 3, 5, 2, 4, 6).flatten(4).flatten(0, 3)
        new = [x.new_tensor(float(len(x))), x.sum(0), y.sum(0), x.T @ x, x.T @ y]
        sums = new if sums is None else [a + b for a, b in zip(sums, new, strict=True)]
    if sums is None or spec is None:
        raise ValueError("no clip to learn frames from")
    count, sum_x, sum_y, gram, cross = sums
    mean_x, mean_y = sum_x / count, sum_y / count
    # Centered moments: the intercept that follows is the exact one.
    gram, cross = gram - count * mean_x.outer(mean_x), cross - count * mean_x.outer(mean_y)
    gram.diagonal().add_(ridge * gram.diagonal().mean())
    weight = torch.linalg.solve(gram, cross)
    return LinearFrames(spec, block, size, weight.float(), (mean_y - mean_x @ weight).float()).to(device)

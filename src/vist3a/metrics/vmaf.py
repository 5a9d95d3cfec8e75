"""VMAF of frames against their neighbors, carried over along the scene: is the film one that an eye takes for one place?

VMAF predicts what people say of a spoiled copy of a video (Li et al., Netflix 2016). Here the neighbors carried over are the
original, and the frames the copy. The package vmaf-torch holds the model. Renderings as copies of the frames are no judge: they
put decoded frames above true ones, as what is smooth is easily rendered (``benchmarks/judges.py``).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.metrics.warping import LEAST_SEEN, warp_neighbors
from vist3a.records import Reconstruction

NEEDS = "vmaf needs vmaf-torch, which is not installed here; allowed: pip install 'vist3a[judges]'"
LUMA = (0.299, 0.587, 0.114)
"""Of RGB (ITU-R BT.601), in the full range of 8 bits."""
SMALLEST = 24
"""Pixels of a side below which four halvings leave the model nothing to compare."""


class Vmaf:
    """Metric ``vmaf`` of the registry: mean over the frames; about 0 to 100, and not cut there."""

    more_is_better = True

    def __call__(
        self, scene: Reconstruction, frames: Float[Tensor, "batch views 3 height width"]
    ) -> Float[Tensor, " batch"]:
        """One number per sample; NaN where neighbors see too little of each other.

        Raises:
            ValueError: The frames are too small.
            ModuleNotFoundError: The extra ``judges`` is not installed.
        """
        # Bicubic, as bilinear samples blur the original. What is hidden in the neighbor is taken as equal.
        carried, seen = warp_neighbors(scene.depth, scene.cameras, frames, "bicubic")
        original = torch.where(seen[:, :, None], carried, frames).clamp(0, 1)
        known = seen.to(frames).mean((1, 2, 3)) >= LEAST_SEEN
        scores = torch.stack([vmaf(*pair) for pair in zip(original, frames, strict=True)])
        return torch.where(known, scores, torch.nan)


@torch.no_grad()
def vmaf(
    original: Float[Tensor, "views 3 height width"], copy: Float[Tensor, "views 3 height width"]
) -> Float[Tensor, ""]:
    """VMAF of a copy of a film, both RGB in [0, 1]: mean over the frames.

    Raises:
        ValueError: The frames are too small.
        ModuleNotFoundError: The extra ``judges`` is not installed.

    Example:
        >>> vmaf(clip.frames, decoded)
        tensor(79.9)
    """
    try:
        from vmaf_torch import VMAF
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(NEEDS) from error
    height, width = original.shape[-2:]
    if min(height, width) < SMALLEST:
        raise ValueError(f"vmaf: frames of {height} x {width} pixels; allowed: at least {SMALLEST} on each side")
    model = VMAF().to(original.device)
    return model(*(_luma(film) for film in (original, copy))).mean().to(original.dtype)


def _luma(film: Tensor) -> Tensor:
    """[views, 1, height, width] in [0, 255], float32."""
    return 255 * (film.float() * film.new_tensor(LUMA, dtype=torch.float32)[:, None, None]).sum(1, keepdim=True)

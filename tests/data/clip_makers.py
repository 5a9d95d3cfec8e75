"""Small moving pictures for tests."""

from pathlib import Path

import torch
from torch import Tensor

from vist3a.export.video import save_video


def picture(seed: int, height: int = 160, width: int = 240) -> Tensor:
    """Smooth coloured blobs with detail on them, [3, height, width] in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 5, 7, generator=generator)
    fine = torch.rand(1, 3, height // 4, width // 4, generator=generator)
    resize = torch.nn.functional.interpolate
    layers = [resize(layer, (height, width), mode="bicubic") for layer in (coarse, fine)]
    return (0.7 * layers[0] + 0.3 * layers[1])[0].clamp(0, 1)


def moving(seed: int, views: int = 13, height: int = 96, width: int = 128, step: int = 6) -> Tensor:
    """A window that slides over a picture, [views, 3, height, width]."""
    wide = picture(seed, height + step * views, width + step * views)
    return torch.stack([wide[:, i * step // 2 :, i * step :][:, :height, :width] for i in range(views)])


def save_moving(path: Path, seed: int, **size: int) -> Path:
    """A video that passes all checks."""
    save_video(path, moving(seed, **size))
    return path

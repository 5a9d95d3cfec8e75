"""A folder of images as a stream of RGB frames."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from vist3a.scenes.rejected import RejectedError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp"})


def image_paths(folder: Path) -> list[Path]:
    """Images directly in ``folder``, numbers in their names counted (2 before 10)."""
    paths = [p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file() and p.name[0] != "."]
    return sorted(paths, key=lambda path: (natural_order(path.name), path.name))


@dataclass(frozen=True)
class ImageFolder:
    """Images of one scene; the order of their names is the order of the views, unless ``sequence`` lists their places anew."""

    path: Path
    sequence: tuple[int, ...] | None = None

    def paths(self) -> list[Path]:
        """The images in the order of the views."""
        named = image_paths(self.path)
        return named if self.sequence is None else [named[place] for place in self.sequence]

    def frames(self) -> Iterator[UInt8[Tensor, "3 rows columns"]]:
        """One image after the other, turned upright by its EXIF orientation; transparency becomes black.

        Raises:
            RejectedError: An image cannot be read, or differs in shape from the first.
        """
        first: tuple[int, ...] | None = None
        for path in self.paths():
            image = read_image(path)
            first = first or tuple(image.shape)
            if tuple(image.shape) != first:
                found, wanted = (f"{shape[2]}x{shape[1]}" for shape in (tuple(image.shape), first))
                raise RejectedError(f"image {path.name} has {found} pixels; all must have {wanted} as the first one")
            yield image

    def pixel_aspect(self) -> float:
        """Pixels of images are square."""
        return 1.0


def read_image(path: Path) -> UInt8[Tensor, "3 rows columns"]:
    """An image, turned upright by its EXIF orientation; transparency becomes black. RejectedError when it cannot be read."""
    import numpy as np
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
            upright = ImageOps.exif_transpose(opened).convert("RGB")
            return torch.from_numpy(np.array(upright)).permute(2, 0, 1)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise RejectedError(f"image {path.name} cannot be read; a whole PNG, JPEG or WebP file is needed") from error


def natural_order(name: str) -> list[tuple[int, int | str]]:
    """Key that counts the numbers of a name (2 before 10)."""
    parts = re.findall(r"\d+|\D+", name.lower())
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts]

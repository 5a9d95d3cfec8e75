"""A folder of images as a stream of RGB frames."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import UInt8
from torch import Tensor

from vist3a.data.picture import picture_endings, read_picture
from vist3a.data.rejected import RejectedError


def image_paths(folder: Path) -> list[Path]:
    """Images directly in ``folder``, numbers in their names counted (2 before 10)."""
    endings = picture_endings()
    paths = [p for p in folder.iterdir() if p.suffix.lower() in endings and p.is_file() and p.name[0] != "."]
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
        """One image after the other, upright, as :func:`read_picture` gives it.

        Raises:
            RejectedError: An image cannot be read, or differs in shape from the first.
        """
        first: tuple[int, ...] | None = None
        for path in self.paths():
            image = read_picture(path, upright=True)
            first = first or tuple(image.shape)
            if tuple(image.shape) != first:
                found, wanted = (f"{shape[2]}x{shape[1]}" for shape in (tuple(image.shape), first))
                raise RejectedError(f"image {path.name} has {found} pixels; all must have {wanted} as the first one")
            yield image

    def pixel_aspect(self) -> float:
        """Pixels of images are square."""
        return 1.0


def natural_order(name: str) -> list[tuple[int, int | str]]:
    """Key that counts the numbers of a name (2 before 10)."""
    parts = re.findall(r"\d+|\D+", name.lower())
    # The leading 0 or 1 keeps numbers and letters from being compared with each other.
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts]

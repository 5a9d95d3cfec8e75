"""Folders that hold the pictures of the folder beside them once more, smaller or in another file format.

Taken for clips of their own, the same pictures would be fitted to and held out.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vist3a.data.image_folder import image_paths
from vist3a.data.picture import read_picture, stored_size
from vist3a.data.rejected import RejectedError

COPY = re.compile(
    r"(?P<base>.+?)[ _-]?(?:x?\d+x?|\d+x\d+|half|quarter|small|low|lowres|thumbs?|thumbnails?|resized|downscaled)?"
    r"(?:[ _-](?:png|jpe?g|webp))?",
    re.IGNORECASE,
)
"""Names of copies: images_2, images_8, images_4_png, images_1008x756, rgb_2x, rgb_half, images_png."""
PLAIN = frozenset({"images", "image", "rgb", "color", "colour", "frames", "pictures", "photos", "input"})
"""Names that say nothing of a scene: of folders like images_4 and images_8 the largest is the scene, if there is no images."""
THUMB = 16
ALIKE = 0.03
"""Largest mean difference of thumbnails, colours in [0, 1]: what resizing and JPEG leave is a third of it."""
ASPECT_TOLERANCE = 0.03


def find_copies(folders: list[Path]) -> dict[Path, Path]:
    """Of folders that lie beside each other, each copy and the folder that it repeats.

    A copy says so by its name, has as many pictures as the other or some of its names, is not larger, and looks the same in its
    first and last picture. Another walk through the same place is none.
    """
    by_base: dict[str, list[Path]] = {}
    for folder in folders:
        for base in {folder.name, _base(folder.name)}:
            by_base.setdefault(base, []).append(folder)
    copies: dict[Path, Path] = {}
    for base, alike in by_base.items():
        if len(alike) < 2 or not (base in PLAIN or any(folder.name == base for folder in alike)):
            continue
        # The full pictures first; where they are missing, the largest stand for them.
        ordered = sorted(alike, key=lambda folder: (folder.name != base, -_area(folder), folder.name))
        # Where a folder names a scene, only that one is the original; else every larger one may be.
        originals = [ordered[0]] if ordered[0].name == base and base not in PLAIN else ordered
        for place, folder in enumerate(ordered):
            before = [other for other in originals[:place] if other not in copies]
            original = next((other for other in before if folder != other and _repeats(folder, other)), None)
            if original is not None:
                copies[folder] = original
    return copies


def _base(name: str) -> str:
    named = COPY.fullmatch(name)
    return named["base"] if named else name


def _repeats(folder: Path, other: Path) -> bool:
    ours, theirs = ({path.stem: path for path in image_paths(place)} for place in (folder, other))
    if not ours or not (len(ours) == len(theirs) or ours.keys() <= theirs.keys()):
        return False
    # LLFF's copies have other names than the photographs, in the same order.
    same_names = ours.keys() <= theirs.keys()
    names = list(ours)
    matching = [theirs[name] for name in names] if same_names else list(theirs.values())
    pairs = [(ours[names[place]], matching[place]) for place in (0, -1)]
    try:
        return all(_same_picture(copy, original) for copy, original in pairs)
    except RejectedError:
        return False


def _same_picture(copy: Path, original: Path) -> bool:
    (small, small_size), (large, large_size) = _thumb(copy), _thumb(original)
    if small_size[0] > large_size[0] or small_size[1] > large_size[1]:
        return False
    shape = small_size[0] * large_size[1] / (small_size[1] * large_size[0])
    return abs(shape - 1) < ASPECT_TOLERANCE and float(np.abs(small - large).mean()) < ALIKE


def _thumb(path: Path) -> tuple[NDArray[np.float64], tuple[int, int]]:
    import torch.nn.functional as F

    image = read_picture(path, upright=True)
    thumb = F.interpolate(image[None].double() / 255, (THUMB, THUMB), mode="area")[0]
    return thumb.numpy(), (image.shape[1], image.shape[2])


def _area(folder: Path) -> int:
    """Pixels of the first picture, from its head; 0 where there is none that can be read."""
    first = next(iter(image_paths(folder)), None)
    try:
        rows, columns = (0, 0) if first is None else stored_size(first)
    except RejectedError:
        return 0
    return rows * columns

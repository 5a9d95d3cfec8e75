"""A reader of data sets: pictures beside a ``cameras.csv``, one line per picture in the order of the sequence.

Columns: ``picture``, ``focal`` (pixels of that picture; the principal point is its center), and ``r00 r01 r02 tx r10 ... tz``,
the rows of world to camera in OpenCV axes. Once installed, every ``curate`` and every ``reconstruct`` knows such folders.
"""

from __future__ import annotations

import csv
from pathlib import Path

import torch

from vist3a.data.formats.lens import Lens
from vist3a.data.formats.posed import PosedView, PosedViews, picture_size, rigid_pose
from vist3a.data.formats.text import read_text, shown
from vist3a.data.rejected import RejectedError

FILE = "cameras.csv"
POSE = ("r00", "r01", "r02", "tx", "r10", "r11", "r12", "ty", "r20", "r21", "r22", "tz")


def is_scene(folder: Path) -> bool:
    """The folder has the table."""
    return (folder / FILE).is_file()


def load(folder: Path) -> PosedViews:
    """Views line by line; a line that cannot be used costs its view.

    Raises:
        RejectedError: The table lacks a column.
    """
    lines = csv.DictReader(read_text(folder / FILE).splitlines())
    missing = [name for name in ("picture", "focal", *POSE) if name not in (lines.fieldnames or ())]
    if missing:
        raise RejectedError(f"{FILE} has no column {', '.join(missing)}")
    views, dropped = list[PosedView](), list[str]()
    for number, line in enumerate(lines, 2):
        try:
            views.append(_view(folder, line))
        except (RejectedError, ValueError, TypeError) as error:
            dropped.append(f"{FILE} line {number}: {shown(error)}")
    return PosedViews(tuple(views), tuple(dropped))


def _view(folder: Path, line: dict[str, str]) -> PosedView:
    image = folder / line["picture"]
    if not image.resolve().is_relative_to(folder.resolve()) or not image.is_file():
        raise RejectedError(f"{shown(line['picture'])} is no picture in this folder")
    pose = torch.tensor([float(line[name]) for name in POSE], dtype=torch.float64).reshape(3, 4)
    height, width = picture_size(image)
    focal = float(line["focal"])
    return PosedView(image, rigid_pose(pose), Lens(width, height, focal, focal, width / 2, height / 2))

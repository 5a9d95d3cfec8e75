"""7-Scenes: ``seq-XX/frame-NNNNNN.{color.png,depth.png,pose.txt}``; depth in mm, 65535 where there is none.

The data set has no calibrated intrinsics. Its page states focal length 585 and principal point (320, 240) for the depth camera;
they are used for both cameras, whose small offset it does not state either.
"""

from __future__ import annotations

from pathlib import Path

from vist3a.data.formats.depth_map import DepthFile
from vist3a.data.formats.lens import Lens
from vist3a.data.formats.posed import PosedView, PosedViews, inverse_pose, rigid_pose
from vist3a.data.formats.text import read_numbers, shown
from vist3a.data.rejected import RejectedError

LENS = Lens(width=640, height=480, fx=585.0, fy=585.0, cx=320.0, cy=240.0)
COLOUR = ".color.png"
POSE = ".pose.txt"
MILLIMETRE = 1e-3


def is_scene(folder: Path) -> bool:
    """A sequence with pictures and poses under their names."""
    return any(folder.glob(f"frame-*{COLOUR}")) and any(folder.glob(f"frame-*{POSE}"))


def load(folder: Path) -> PosedViews:
    """Views by frame number; poses are camera to world."""
    views, dropped = [], []
    for image in sorted(folder.glob(f"frame-*{COLOUR}")):
        stem = image.name.removesuffix(COLOUR)
        try:
            pose = inverse_pose(rigid_pose(read_numbers(folder / f"{stem}{POSE}", 4, 4)))
        except RejectedError as reason:
            dropped.append(f"{shown(image.name)}: {reason}")
            continue
        depth = folder / f"{stem}.depth.png"
        views.append(PosedView(image, pose, LENS, DepthFile(depth, MILLIMETRE, LENS) if depth.is_file() else None))
    poses = sorted(path.name for path in folder.glob(f"frame-*{POSE}"))
    alone = [name for name in poses if not (folder / (name.removesuffix(POSE) + COLOUR)).is_file()]
    if alone:
        dropped.append(f"{len(alone)} of the poses have no picture beside them (first {shown(alone[0])})")
    return PosedViews(tuple(views), tuple(dropped))

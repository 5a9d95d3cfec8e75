"""ScanNet as its exporter writes it: ``color/N.jpg``, ``pose/N.txt`` (camera to world), ``depth/N.png`` in mm, ``intrinsic``."""

from __future__ import annotations

from pathlib import Path

import torch

from vist3a.data.formats.depth_map import DepthFile
from vist3a.data.formats.lens import Lens
from vist3a.data.formats.posed import PosedView, PosedViews, inverse_pose, picture_size, rigid_pose
from vist3a.data.formats.text import read_numbers, shown
from vist3a.data.image_folder import image_paths
from vist3a.data.rejected import RejectedError

MILLIMETRE = 1e-3


def is_scene(folder: Path) -> bool:
    """Pictures, poses and intrinsics of one scan."""
    return all((folder / part).is_dir() for part in ("color", "pose", "intrinsic"))


def load(folder: Path) -> PosedViews:
    """Views by frame number; the depth camera has intrinsics of its own and, as in the export, the pose of the colour camera."""
    images = image_paths(folder / "color")
    if not images:
        return PosedViews(())
    colour = _lens(folder / "intrinsic" / "intrinsic_color.txt", images[0])
    views, dropped, depth_lens = [], [], None
    for image in images:
        depth_path = folder / "depth" / f"{image.stem}.png"
        try:
            pose = rigid_pose(read_numbers(folder / "pose" / f"{image.stem}.txt", 4, 4))
            if depth_path.is_file() and depth_lens is None:
                depth_lens = _lens(folder / "intrinsic" / "intrinsic_depth.txt", depth_path)
        except RejectedError as reason:
            dropped.append(f"color/{shown(image.name)}: {reason}")
            continue
        depth = DepthFile(depth_path, MILLIMETRE, depth_lens) if depth_path.is_file() and depth_lens else None
        views.append(PosedView(image, inverse_pose(pose), colour, depth))
    pictured = {image.stem for image in images}
    alone = sorted(path.name for path in (folder / "pose").glob("*.txt") if path.stem not in pictured)
    if alone:
        dropped.append(f"pose: {len(alone)} of the poses have no picture in color (first {shown(alone[0])})")
    return PosedViews(tuple(views), tuple(dropped))


def _lens(path: Path, picture: Path) -> Lens:
    k = read_numbers(path, 4, 4)
    # Rebuilt from the four numbers of a pinhole: whatever differs in the file (skew, say) would be lost.
    pinhole = torch.diag(torch.tensor([float(k[0, 0]), float(k[1, 1]), 1, 1], dtype=torch.float64))
    pinhole[:2, 2] = k[:2, 2]
    if not torch.allclose(k, pinhole, rtol=0, atol=1e-3, equal_nan=True):
        raise RejectedError(f"{path.name} is no matrix of a pinhole camera (fx 0 cx 0, 0 fy cy 0, 0 0 1 0, 0 0 0 1)")
    height, width = picture_size(picture)
    return Lens(width, height, float(k[0, 0]), float(k[1, 1]), float(k[0, 2]), float(k[1, 2]))

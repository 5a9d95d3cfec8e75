"""A scene read back from its folder, to be written in further formats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vist3a.export.cameras import load_cameras
from vist3a.export.depth import load_depth_npz
from vist3a.export.formats import Exported
from vist3a.export.ply import load_gaussians
from vist3a.export.viewer import Caption
from vist3a.geometry.projection import unproject_depth
from vist3a.records import Cameras, Reconstruction

GAUSSIANS, CAMERAS, DEPTH, PROMPT = "gaussians.ply", "transforms.json", "depth.npz", "prompt.json"


def read_scene(folder: Path) -> Exported:
    """What :func:`vist3a.export.scene.save_scene` wrote, on the CPU, as exporters take it.

    Frames are those of the pictures (8 bits), Gaussians those of the PLY file. A folder keeps no point for every pixel: points
    are the depth maps seen through the cameras, with the confidence of the depth.

    Raises:
        FileNotFoundError: The folder lacks a file of a scene.
        ValueError: The files are damaged or do not belong together.

    Example:
        >>> read_scene(Path("scenes/a-red-ball-3")).scene.depth.shape
        torch.Size([1, 13, 64, 64])
    """
    if missing := [name for name in (CAMERAS, DEPTH, PROMPT) if not (folder / name).is_file()]:
        raise FileNotFoundError(f"{folder} holds no {', no '.join(missing)}; allowed: the folder of a scene")
    cameras, size, names = load_cameras(folder / CAMERAS)
    depth, confidence = load_depth_npz(folder / DEPTH)
    if depth.shape != (len(names), *size):
        raise ValueError(
            f"{folder / DEPTH} has shape {tuple(depth.shape)}; allowed: {(len(names), *size)}, as {CAMERAS} has so many views"
        )
    # A confidence of one everywhere: nothing is left out for it.
    trust = torch.ones_like(depth) if confidence is None else confidence
    # A batch of one, as networks give scenes.
    each = Cameras(cameras.world_to_camera[None], cameras.intrinsics[None])
    scene = Reconstruction(each, depth[None], trust[None], unproject_depth(depth[None], each), trust[None])
    facts: dict[str, Any] = json.loads((folder / PROMPT).read_text(encoding="utf-8"))
    gaussians = load_gaussians(folder / GAUSSIANS) if (folder / GAUSSIANS).is_file() else None
    frames = torch.stack([_picture(folder, name, size) for name in names])[None]
    return Exported(Caption(str(facts.pop("prompt", "")), facts), frames, scene, gaussians)


def _picture(folder: Path, name: str, size: tuple[int, int]) -> Tensor:
    """[3, height, width] in [0, 1]."""
    file = folder / name
    # The names come from a file: none may lead out of the folder.
    if not file.resolve().is_relative_to(folder.resolve()) or not file.is_file():
        raise FileNotFoundError(f"{folder / CAMERAS} names the picture {name}; allowed: files in {folder}")
    with Image.open(file) as image:
        pixels = torch.from_numpy(np.array(image.convert("RGB"))).movedim(-1, 0).float() / 255
    if pixels.shape[1:] != size:
        raise ValueError(f"{file} has {tuple(pixels.shape[1:])} pixels; allowed: {size}, as {CAMERAS} says")
    return pixels

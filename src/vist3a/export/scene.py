"""One generated scene as files that other tools open."""

from __future__ import annotations

import json
import re
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.export.atomic import replacing
from vist3a.export.cameras import save_cameras
from vist3a.export.depth import save_depth_npz, save_depth_png
from vist3a.export.ply import save_gaussians, save_point_cloud
from vist3a.export.turntable import render_path, turntable_path
from vist3a.export.video import image_sheet, save_image, save_video
from vist3a.records import Reconstruction
from vist3a.rendering.base import Renderer


def scene_name(prompt: str, seed: int) -> str:
    """A folder name from a prompt: letters, digits and dashes only, so that no prompt can leave its folder."""
    words = re.findall(r"[a-z0-9]+", prompt.lower())
    return f"{'-'.join(words)[:60].strip('-') or 'scene'}-{seed}"


def save_scene(
    folder: Path,
    prompt: str,
    frames: Float[Tensor, "1 views 3 height width"],
    scene: Reconstruction,
    render: Renderer,
    turntable_frames: int,
    turntable_size: int,
) -> dict[str, Path]:
    """Write Gaussians, points, depth, cameras, videos and a picture into ``folder``; what was written, by name."""
    folder.mkdir(parents=True, exist_ok=True)
    size = (frames.shape[-2], frames.shape[-1])
    cameras = scene.cameras[0]
    paths = {
        "points": folder / "points.ply",
        "depth": folder / "depth.npz",
        "depth picture": folder / "depth.png",
        "cameras": folder / "transforms.json",
        "video": folder / "frames.mp4",
        "prompt": folder / "prompt.json",
    }
    save_point_cloud(
        paths["points"],
        scene.points[0].flatten(0, 2),
        frames[0].movedim(1, -1).flatten(0, 2),
        scene.points_confidence[0].flatten(),
        drop_fraction=0.1,
    )
    save_depth_npz(paths["depth"], scene.depth[0], scene.depth_confidence[0])
    save_depth_png(paths["depth picture"], scene.depth[0, 0])
    save_cameras(paths["cameras"], cameras, size)
    save_video(paths["video"], frames[0], fps=8.0)
    rows = [frames[0]]
    if scene.gaussians is not None:
        paths |= {"gaussians": folder / "gaussians.ply", "turntable": folder / "turntable.mp4"}
        save_gaussians(paths["gaussians"], scene.gaussians)
        path = turntable_path(cameras, float(scene.depth[0].median()), turntable_frames)
        scale = turntable_size / min(size)
        large = (round(size[0] * scale), round(size[1] * scale))
        zoom = torch.diag(torch.tensor([scale, scale, 1.0], device=path.intrinsics.device))
        path = type(path)(path.world_to_camera, zoom @ path.intrinsics)
        save_video(paths["turntable"], render_path(scene.gaussians, path, large, render), fps=16.0)
        rows.append(render_path(scene.gaussians, cameras, size, render))
    chosen = torch.linspace(0, frames.shape[1] - 1, min(6, frames.shape[1])).round().long()
    paths["picture"] = folder / "scene.png"
    pictures = torch.cat([row[chosen.to(row.device)] for row in rows])
    save_image(paths["picture"], image_sheet(pictures, columns=len(chosen)))
    with replacing(paths["prompt"]) as partial:
        partial.write_text(json.dumps({"prompt": prompt}, indent=1) + "\n")
    return paths

"""One generated scene as files that other tools open."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from annotated_types import Gt
from jaxtyping import Float
from torch import Tensor

from vist3a.export.cameras import save_cameras
from vist3a.export.colmap import save_colmap
from vist3a.export.depth import save_depth_npz, save_depth_png
from vist3a.export.formats import AssetSettings, Exported, write_formats
from vist3a.export.gltf import save_gaussians_glb, save_point_cloud_glb
from vist3a.export.pivot import check_shown, pivot_depth
from vist3a.export.placement import Placement
from vist3a.export.ply import filtered_points, save_gaussians, save_point_cloud
from vist3a.export.smoothing import close_gaps
from vist3a.export.spz import save_spz
from vist3a.export.thinning import fuse_points, fuse_voxels, prune
from vist3a.export.turntable import render_path, turntable_path
from vist3a.export.video import image_sheet, save_image, save_video
from vist3a.export.viewer import Caption, save_viewer
from vist3a.records import Gaussians, Reconstruction
from vist3a.rendering.base import Renderer
from vist3a.runtime.atomic import replacing
from vist3a.runtime.bounds import BelowOne, NotNegative, Positive, PositiveFloat

FRAMES_PER_SECOND = 8.0
NAME_LENGTH = 60


@dataclass(frozen=True)
class ExportSettings(AssetSettings):
    """What the files hold, and the size of the videos.

    Attributes:
        smoothing: Squared pixels that close gaps between the Gaussians (see :mod:`vist3a.export.smoothing`; 0: exactly what the
            network gave).
        max_gaussians: Of the Gaussians so many stay, those that are seen most (None: all). This comes last.
        min_opacity: Gaussians below it are left out. This comes first.
        voxel_size: Gaussians and points are fused per voxel of this side, in the network's unit (None: they are not).
        turntable_frames: Frames of the video around the scene.
        turntable_size: Its height and width in pixels.
        viewer: Whether there is a page that shows the scene. It holds its program, 1.4 MB, which adds up over many scenes.
        formats: Exporters of the registry, which write further files.
    """

    smoothing: NotNegative = 0.0
    max_gaussians: Positive | None = None
    min_opacity: BelowOne = 0.0
    voxel_size: PositiveFloat | None = None
    turntable_frames: Annotated[int, Gt(1)] = 60
    turntable_size: Annotated[int, Gt(15)] = 192
    viewer: bool = True
    formats: tuple[str, ...] = ()


def scene_name(prompt: str, seed: int) -> str:
    """A folder name from a prompt: ASCII letters, digits and dashes only, so that no prompt can leave its folder.

    A prompt of at most 60 characters that is nothing but words gives these words; any other gets eight digits of its
    hash behind two dashes. So two prompts never have one name, however alike they begin.
    """
    words = re.findall(r"[a-z0-9]+", prompt.lower())
    name = "-".join(words)[:NAME_LENGTH].strip("-")
    if name.replace("-", " ") != prompt or not name:
        name = f"{name or 'scene'}--{hashlib.sha256(prompt.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
    return f"{name}-{seed}"


def gaussians_to_write(gaussians: Gaussians, scene: Reconstruction, settings: ExportSettings) -> Gaussians:
    """The network's Gaussians as the files hold them."""
    kept = prune(gaussians, min_opacity=settings.min_opacity)
    if settings.voxel_size is not None:
        kept = fuse_voxels(kept, settings.voxel_size)
    # The budget counts what fusion has left; gaps are closed between those that stay.
    kept = prune(kept, max_gaussians=settings.max_gaussians, cameras=scene.cameras[0])
    return close_gaps(kept, scene.cameras[0], settings.smoothing)


def save_scene(
    folder: Path,
    caption: Caption,
    frames: Float[Tensor, "1 views 3 height width"],
    scene: Reconstruction,
    gaussians: Gaussians | None,
    render: Renderer,
    settings: ExportSettings,
) -> dict[str, Path]:
    """Write Gaussians, points, depth, cameras, images, videos, a picture and the viewer; what was written, by name.

    ``gaussians`` are those of ``scene`` after :func:`gaussians_to_write`.

    Raises:
        ValueError: No depth or no point of the scene is finite; nothing is written then.
    """
    check_shown(scene)
    size = (frames.shape[-2], frames.shape[-1])
    paths = {
        "points": folder / "points.ply",
        "points glb": folder / "points.glb",
        "depth": folder / "depth.npz",
        "depth pictures": folder / "depth",
        "images": folder / "images",
        "cameras": folder / "transforms.json",
        "colmap": folder / "colmap" / "sparse" / "0",
        "video": folder / "frames.mp4",
        "picture": folder / "scene.png",
        "prompt": folder / "prompt.json",
    }
    names = [f"{view:04d}.png" for view in range(frames.shape[1])]
    for name, image, depth in zip(names, frames[0], scene.depth[0], strict=True):
        save_image(paths["images"] / name, image)
        save_depth_png(paths["depth pictures"] / name, depth)
    save_depth_npz(paths["depth"], scene.depth[0], scene.depth_confidence[0])
    points, colors = _save_points(paths, frames, scene, settings)
    cameras = scene.cameras[0]
    save_cameras(paths["cameras"], cameras, size, [f"images/{name}" for name in names], paths["points"].name)
    save_colmap(paths["colmap"], cameras, size, names, points, colors)
    save_video(paths["video"], frames[0], fps=FRAMES_PER_SECOND)
    if gaussians is not None:
        paths |= _save_gaussians(folder, gaussians, scene, size, render, settings)
    save_image(paths["picture"], scene_picture(frames, scene, render, min(6, frames.shape[1])))
    paths |= write_formats(
        settings.formats, folder, Exported(caption, frames, scene, gaussians, settings), "generate.formats"
    )
    _save_json(paths["prompt"], {"prompt": caption.prompt, **caption.facts})
    if settings.viewer:
        # Last, so that a folder with a viewer is complete.
        paths["viewer"] = folder / "viewer.html"
        save_viewer(paths["viewer"], caption, frames[0], scene, gaussians, FRAMES_PER_SECOND)
    return paths


def scene_picture(
    frames: Float[Tensor, "1 views 3 height width"], scene: Reconstruction, render: Renderer, columns: int
) -> Float[Tensor, "3 sheet_height sheet_width"]:
    """Evenly chosen views: decoded frames above, renderings of the network's Gaussians below."""
    chosen = torch.linspace(0, frames.shape[1] - 1, columns).round().long()
    rows = [frames[0, chosen.to(frames.device)]]
    if scene.gaussians is not None:
        cameras = scene.cameras[0][chosen.to(frames.device)]
        rows.append(render_path(scene.gaussians, cameras, (frames.shape[-2], frames.shape[-1]), render))
    return image_sheet(torch.cat(rows), columns)


def _save_points(
    paths: Mapping[str, Path],
    frames: Float[Tensor, "1 views 3 height width"],
    scene: Reconstruction,
    settings: ExportSettings,
) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n 3"]]:
    colors = frames[0].movedim(1, -1)
    xyz, rgb, trust = filtered_points(
        scene.points[0], colors, scene.points_confidence[0], drop_fraction=settings.drop_points
    )
    assert trust is not None
    if settings.voxel_size is not None:
        xyz, rgb, trust = fuse_points(xyz, rgb, trust, settings.voxel_size)
    save_point_cloud(paths["points"], xyz, rgb, trust, comments=Placement().lines)
    save_point_cloud_glb(paths["points glb"], xyz, rgb, trust)
    return xyz, rgb


def _save_gaussians(
    folder: Path,
    gaussians: Gaussians,
    scene: Reconstruction,
    size: tuple[int, int],
    render: Renderer,
    settings: ExportSettings,
) -> dict[str, Path]:
    paths = {
        "gaussians": folder / "gaussians.ply",
        "gaussians spz": folder / "gaussians.spz",
        "gaussians glb": folder / "gaussians.glb",
        "flight": folder / "flight.mp4",
        "turntable": folder / "turntable.mp4",
    }
    save_gaussians(paths["gaussians"], gaussians, Placement().lines)
    save_spz(paths["gaussians spz"], gaussians)
    save_gaussians_glb(paths["gaussians glb"], gaussians)
    path = turntable_path(scene.cameras[0], pivot_depth(scene.depth[0]), settings.turntable_frames)
    # The shorter side gets this size; focal lengths and centers grow along.
    scale = settings.turntable_size / min(size)
    large = (round(size[0] * scale), round(size[1] * scale))
    zoom = torch.diag(torch.tensor([scale, scale, 1.0], device=path.intrinsics.device))
    path = type(path)(path.world_to_camera, zoom @ path.intrinsics)
    pictures = render_path(gaussians, path, large, render)
    save_video(paths["turntable"], pictures, fps=16.0)
    # The path begins with the flight through all views.
    flown = round(settings.turntable_frames * 2 / 3)
    save_video(paths["flight"], pictures[:flown], fps=16.0)
    return paths


def _save_json(path: Path, content: Mapping[str, object]) -> None:
    with replacing(path) as partial:
        partial.write_text(json.dumps(content, indent=1) + "\n")

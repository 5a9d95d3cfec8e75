"""A scene as one HTML file that needs no network: Gaussians, points, cameras and depth in 3D beside the decoded video.

The page is ``assets/viewer.html``; the program in it is ``assets/viewer.js.gz``, built from ``viewer/`` by ``npm run build``.
"""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from vist3a.export.pivot import check_points, pivot_depth
from vist3a.export.ply import filtered_points
from vist3a.export.spz import save_spz
from vist3a.export.thinning import prune
from vist3a.export.video import save_video
from vist3a.records import Cameras, Gaussians, Reconstruction
from vist3a.runtime.atomic import replacing

MAX_GAUSSIANS, MAX_POINTS, MAX_DEPTH_SIDE = 400_000, 80_000, 256
"""What a phone still turns smoothly; larger scenes are thinned for the page only."""
DROPPED_POINTS = 0.1
SHEET_COLUMNS = 4


@dataclass(frozen=True)
class Caption:
    """What stands above the scene: the prompt, and named facts (scores, seed, counts) in the order in which they are shown."""

    prompt: str
    facts: Mapping[str, str | float | int]


def save_viewer(
    path: Path,
    caption: Caption,
    frames: Float[Tensor, "views 3 height width"],
    scene: Reconstruction,
    gaussians: Gaussians | None,
    fps: float = 8.0,
) -> None:
    """Write the page of a scene (the first of its batch) with its decoded ``frames`` (RGB in [0, 1]).

    Raises:
        ValueError: No depth or no point of the scene is finite; nothing is written then.
    """
    size = (frames.shape[-2], frames.shape[-1])
    depth = scene.depth[0].detach().float().cpu()
    sheet, depth_range = _depth_sheet(depth)
    content = {
        "size": list(size),
        "fps": fps,
        "pivot_depth": pivot_depth(depth),
        "cameras": _cameras(scene.cameras[0]),
        "depth": sheet,
        "points": _points(scene, frames),
        "splats": None if gaussians is None else _splats(gaussians, scene.cameras[0]),
    }
    assets = files("vist3a.export") / "assets"
    facts = "".join(
        f"<div><dt>{html.escape(name)}</dt> <dd>{html.escape(_show(value))}</dd></div>"
        for name, value in caption.facts.items()
    )
    page = Template((assets / "viewer.html").read_text(encoding="utf-8")).substitute(
        title=html.escape(caption.prompt[:80]),
        prompt=html.escape(caption.prompt),
        facts=facts,
        video=f"data:video/mp4;base64,{_video(frames, fps)}",
        depth_range=f"{depth_range[0]:.3g} (red) to {depth_range[1]:.3g} (blue)",
        # "<" could end the script element.
        scene=json.dumps(content, separators=(",", ":")).replace("<", "\\u003c"),
        bundle=base64.b64encode((assets / "viewer.js.gz").read_bytes()).decode(),
    )
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _cameras(cameras: Cameras) -> list[dict[str, Any]]:
    return [
        {"world_to_camera": pose.tolist(), "intrinsics": intrinsics.tolist()}
        for pose, intrinsics in zip(
            cameras.world_to_camera.detach().cpu(), cameras.intrinsics.detach().cpu(), strict=True
        )
    ]


def _splats(gaussians: Gaussians, cameras: Cameras) -> str:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "scene.spz"
        save_spz(file, prune(gaussians, max_gaussians=MAX_GAUSSIANS, cameras=cameras))
        return _base64(file.read_bytes())


def _points(scene: Reconstruction, frames: Float[Tensor, "views 3 height width"]) -> dict[str, Any]:
    """Places in 16 bits between the corners of their box, colours in 8."""
    colors = frames.movedim(1, -1)
    xyz, rgb, _ = filtered_points(
        scene.points[0], colors, scene.points_confidence[0], min_confidence=None, drop_fraction=DROPPED_POINTS
    )
    check_points(len(xyz))
    step = -(-len(xyz) // MAX_POINTS)
    xyz, rgb = xyz[::step], rgb[::step]
    low, high = xyz.amin(0), xyz.amax(0)
    grid = ((xyz - low) / (high - low).clamp(min=1e-12) * 65535).round().numpy().astype("<u2")
    return {
        "count": len(xyz),
        "low": low.tolist(),
        "high": high.tolist(),
        "positions": _base64(grid.tobytes()),
        "colors": _base64((rgb * 255).round().to(torch.uint8).numpy().tobytes()),
    }


def _depth_sheet(depth: Float[Tensor, "views height width"]) -> tuple[dict[str, Any], tuple[float, float]]:
    """Depths of all views in colours of one range (2nd to 98th percentile), on one PNG; unknown is black."""
    from matplotlib import colormaps

    step = -(-max(depth.shape[1:]) // MAX_DEPTH_SIDE)
    values = depth[:, ::step, ::step].numpy()
    known = np.isfinite(values) & (values > 0)
    near, far = np.percentile(values[known], [2, 98]) if known.any() else (0.0, 1.0)
    # Unknown depths get a harmless number here and black below; what lies outside of the range gets the color of its end.
    nearness = 1 - (np.where(known, values, far) - near) / max(far - near, 1e-12)
    colors = (colormaps["turbo"](nearness)[..., :3] * 255).round().astype(np.uint8)
    colors[~known] = 0
    views, height, width = values.shape
    rows = -(-views // SHEET_COLUMNS)
    sheet = np.zeros((rows * height, SHEET_COLUMNS * width, 3), dtype=np.uint8)
    for view, picture in enumerate(colors):
        top, left = view // SHEET_COLUMNS * height, view % SHEET_COLUMNS * width
        sheet[top : top + height, left : left + width] = picture
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, format="PNG")
    place = {"columns": SHEET_COLUMNS, "height": height, "width": width}
    return {**place, "sheet": f"data:image/png;base64,{_base64(buffer.getvalue())}"}, (float(near), float(far))


def _video(frames: Float[Tensor, "views 3 height width"], fps: float) -> str:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "frames.mp4"
        save_video(file, frames, fps)
        return _base64(file.read_bytes())


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _show(value: str | float | int) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)

"""Depth maps: 16-bit PNG for viewing anywhere, NPZ for exact numbers."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from vist3a.runtime.atomic import replacing

LEVELS = 65535


def save_depth_png(path: Path, depth: Float[Tensor, "height width"]) -> float:
    """Write z-depth as 16-bit PNG plus ``<stem>.json`` with the scale, which is returned.

    depth = pixel * scale; pixel 0 means unknown (not finite or not positive). The scale uses the full range of the
    image, so the error is at most half of largest depth / 65535.
    """
    values = depth.detach().double().cpu().numpy()
    known = np.isfinite(values) & (values > 0)
    scale = float(values[known].max()) / LEVELS if known.any() else 1.0
    pixels = np.zeros(values.shape, dtype=np.uint16)
    # Known depths never become 0, which would read as unknown.
    pixels[known] = np.clip(np.round(values[known] / scale), 1, LEVELS)
    with replacing(path.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps({"scale": scale, "unknown": 0}) + "\n")
    with replacing(path) as temporary:
        Image.fromarray(pixels).save(temporary, format="PNG")
    return scale


def load_depth_png(path: Path) -> Float[Tensor, "height width"]:
    """Read such a pair: float32, NaN where unknown."""
    scale = json.loads(path.with_suffix(".json").read_text()).get("scale")
    if not isinstance(scale, float | int) or not math.isfinite(scale) or scale <= 0:
        raise ValueError(f"{path.with_suffix('.json')}: 'scale' must be a positive number, not {scale!r}")
    with Image.open(path) as image:
        pixels = np.asarray(image)
    if pixels.ndim != 2 or pixels.dtype.itemsize < 2:
        raise ValueError(f"{path} is not a 16-bit grey PNG")
    values = torch.from_numpy(pixels.astype(np.float64) * scale)
    return torch.where(values > 0, values, torch.nan).float()


def save_depth_npz(
    path: Path,
    depth: Float[Tensor, "*batch height width"],
    confidence: Float[Tensor, "*batch height width"] | None = None,
) -> None:
    """Write z-depths, and confidences where given, as float32 under the names ``depth`` and ``confidence``."""
    arrays = {"depth": depth.detach().float().cpu().numpy()}
    if confidence is not None:
        arrays["confidence"] = confidence.detach().float().cpu().numpy()
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def load_depth_npz(
    path: Path,
) -> tuple[Float[Tensor, "*batch height width"], Float[Tensor, "*batch height width"] | None]:
    """Read such a file: depth and, where there is one, confidence."""
    with np.load(path, allow_pickle=False) as archive:
        if "depth" not in archive:
            raise ValueError(f"{path} holds no array 'depth', only {', '.join(archive.files) or 'nothing'}")
        confidence = torch.from_numpy(archive["confidence"]) if "confidence" in archive else None
        return torch.from_numpy(archive["depth"]), confidence

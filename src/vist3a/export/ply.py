"""Gaussians in the PLY layout of the original 3D Gaussian splatting code, and plain coloured point clouds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from plyfile import PlyData, PlyElement, PlyParseError
from torch import Tensor

from vist3a.geometry.spherical_harmonics import degree_of_bands
from vist3a.records import Gaussians
from vist3a.runtime.atomic import replacing

OPACITY_EPSILON = 1e-6
"""Opacities are kept this far from 0 and 1, where their logits are infinite."""
SCALE_MIN = 1e-12
"""Standard deviations below this are written as this, so that their logarithm is finite."""


def save_gaussians(path: Path, gaussians: Gaussians, comments: Sequence[str] = ()) -> None:
    """Write one set (a batch of one) as binary PLY, float32, all spherical-harmonics bands; ``comments`` go into the header.

    Scales become logarithms, opacities logits, rotations unit quaternions wxyz. ``f_rest_*`` is channel-major: all
    higher bands of red, then of green, then of blue.
    """
    g = check_writable(path, gaussians)
    opacity = g.opacities[0].clamp(OPACITY_EPSILON, 1 - OPACITY_EPSILON)
    columns = {
        **_numbered("xyz", g.means[0]),
        # Readers of the original code expect columns of normals; nobody uses them.
        **_numbered(["nx", "ny", "nz"], torch.zeros_like(g.means[0])),
        **_numbered("f_dc_", g.harmonics[0, :, 0]),
        **_numbered("f_rest_", g.harmonics[0, :, 1:].transpose(1, 2).flatten(1)),
        # In float64, as 1 - p has few digits left near 1.
        "opacity": torch.logit(opacity.double()).float(),
        **_numbered("scale_", g.scales[0].clamp(min=SCALE_MIN).log()),
        **_numbered("rot_", g.rotations[0]),
    }
    _write(path, {name: column.numpy() for name, column in columns.items()}, comments)


def check_writable(path: Path, gaussians: Gaussians) -> Gaussians:
    """One set on the CPU, float32, with unit quaternions; ValueError when it is not one set or not finite."""
    if len(gaussians.means) != 1:
        raise ValueError(
            f"{path.suffix[1:].upper()} files hold one set of Gaussians, not {len(gaussians.means)}: slice the batch first"
        )
    g = gaussians.detach().to("cpu", torch.float32)
    broken = sum(int((~torch.isfinite(getattr(g, field.name))).sum()) for field in fields(g))
    if broken:
        raise ValueError(f"{path} was not written: {broken} values of its Gaussians are not finite")
    return replace(g, rotations=_unit(g.rotations[0])[None])


def load_gaussians(path: Path) -> Gaussians:
    """Read such a file: a batch of one, float32, linear scales and opacities."""
    vertex = _read(path)
    names = [p.name for p in vertex.properties]
    rest = sum(name.startswith("f_rest_") for name in names)
    if rest % 3:
        raise ValueError(f"{path}: {rest} properties f_rest_*, which is not a multiple of three channels")
    # Raises where no degree has so many bands.
    degree_of_bands(rest // 3 + 1)
    wanted = ["x", "y", "z", "opacity", *_names("f_dc_", 3), *_names("scale_", 3), *_names("rot_", 4)]
    missing = sorted({*wanted, *_names("f_rest_", rest)} - set(names))
    if missing:
        raise ValueError(f"{path} holds no Gaussians: properties {', '.join(missing)} are missing")

    higher = _columns(vertex, _names("f_rest_", rest)).unflatten(1, (3, rest // 3)).transpose(1, 2)
    return Gaussians(
        means=_columns(vertex, ["x", "y", "z"])[None],
        scales=_columns(vertex, _names("scale_", 3)).exp()[None],
        rotations=_unit(_columns(vertex, _names("rot_", 4)))[None],
        opacities=_columns(vertex, ["opacity"])[:, 0].sigmoid()[None],
        harmonics=torch.cat([_columns(vertex, _names("f_dc_", 3))[:, None], higher], 1)[None],
    )


def save_point_cloud(
    path: Path,
    points: Float[Tensor, "*batch 3"],
    colors: Float[Tensor, "*batch 3"],
    confidence: Float[Tensor, "*batch"] | None = None,
    *,
    min_confidence: float | None = None,
    drop_fraction: float = 0.0,
    comments: Sequence[str] = (),
) -> int:
    """Write points with 8-bit colours (RGB in [0, 1]) and, where given, their confidence; return how many were written.

    Points that are not finite are left out, and so are those below ``min_confidence`` and the ``drop_fraction`` with
    the lowest confidence.
    """
    xyz, rgb, trust = filtered_points(points, colors, confidence, min_confidence, drop_fraction)
    columns = _numbered("xyz", xyz)
    columns.update(_numbered(["red", "green", "blue"], (rgb * 255).round().to(torch.uint8)))
    if trust is not None:
        columns["confidence"] = trust
    _write(path, {name: column.numpy() for name, column in columns.items()}, comments)
    return len(xyz)


def filtered_points(
    points: Float[Tensor, "*batch 3"],
    colors: Float[Tensor, "*batch 3"],
    confidence: Float[Tensor, "*batch"] | None = None,
    min_confidence: float | None = None,
    drop_fraction: float = 0.0,
) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n 3"], Float[Tensor, " n"] | None]:
    """Points, colours and confidences that :func:`save_point_cloud` keeps, float32 on the CPU, colours within [0, 1]."""
    if confidence is None and (min_confidence is not None or drop_fraction > 0):
        raise ValueError("points can be filtered by confidence only when a confidence is given")
    if not 0 <= drop_fraction < 1:
        raise ValueError(f"drop_fraction must lie in [0, 1), not {drop_fraction}")
    xyz = points.detach().float().cpu().reshape(-1, 3)
    rgb = colors.detach().float().cpu().reshape(-1, 3).clamp(0, 1)
    keep = torch.isfinite(xyz).all(-1)
    if confidence is None:
        return xyz[keep], rgb[keep], None
    trust = confidence.detach().float().cpu().reshape(-1)
    if min_confidence is not None:
        keep &= trust >= min_confidence
    # By rank and not by threshold, so that ties do not change how many points go.
    keep[torch.argsort(trust, stable=True)[: int(drop_fraction * len(trust))]] = False
    return xyz[keep], rgb[keep], trust[keep]


def load_point_cloud(path: Path) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n 3"], Float[Tensor, " n"] | None]:
    """Points, colours in [0, 1] and, where the file has it, confidence."""
    vertex = _read(path)
    names = [p.name for p in vertex.properties]
    missing = sorted({"x", "y", "z", "red", "green", "blue"} - set(names))
    if missing:
        raise ValueError(f"{path} is no coloured point cloud: properties {', '.join(missing)} are missing")
    points, colors = _columns(vertex, ["x", "y", "z"]), _columns(vertex, ["red", "green", "blue"]) / 255
    return points, colors, _columns(vertex, ["confidence"])[:, 0] if "confidence" in names else None


def _columns(vertex: PlyElement, names: list[str]) -> Float[Tensor, "n columns"]:
    """Properties side by side as float32."""
    # Column by column: properties may differ in type.
    table = np.empty((vertex.count, len(names)), dtype=np.float32)
    for i, name in enumerate(names):
        table[:, i] = vertex[name]
    return torch.from_numpy(table)


def _names(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{i}" for i in range(count)]


def _numbered(names: str | list[str], values: Tensor) -> dict[str, Tensor]:
    """Columns of a table by name: the letters of "xyz", the given names, or a prefix followed by numbers."""
    if isinstance(names, str):
        names = list(names) if names == "xyz" else _names(names, values.shape[1])
    return dict(zip(names, values.unbind(1), strict=True))


def _unit(rotations: Float[Tensor, "n 4"]) -> Float[Tensor, "n 4"]:
    """Normalised quaternions; a zero one (padding) becomes the identity."""
    norm = rotations.norm(dim=-1, keepdim=True)
    identity = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=rotations.dtype).expand_as(rotations)
    return torch.where(norm > 0, rotations / norm, identity)


def _write(path: Path, columns: dict[str, np.ndarray], comments: Sequence[str]) -> None:
    count = len(next(iter(columns.values())))
    table = np.empty(count, dtype=[(name, column.dtype.newbyteorder("<")) for name, column in columns.items()])
    for name, column in columns.items():
        table[name] = column
    with replacing(path) as temporary:
        PlyData([PlyElement.describe(table, "vertex")], byte_order="<", comments=list(comments)).write(str(temporary))


def _read(path: Path) -> PlyElement:
    try:
        data = PlyData.read(str(path))
    except (PlyParseError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a readable PLY file: {error}") from error
    if "vertex" not in data:
        raise ValueError(f"{path} has no element 'vertex'")
    return data["vertex"]

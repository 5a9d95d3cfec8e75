"""Binary glTF 2.0 (GLB): coloured point clouds, and Gaussians by the extension KHR_gaussian_splatting.

Axes are those of glTF (x right, y up, z backward). Files have one scene, one node, one mesh of points.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.export.axes import flip_points, turn_to_opengl
from vist3a.export.glb_file import read_glb, write_glb
from vist3a.export.ply import check_writable, filtered_points
from vist3a.geometry.spherical_harmonics import BAND_ZERO, degree_of_bands
from vist3a.records import Gaussians

SPLATS = "KHR_gaussian_splatting"
MAX_DEGREE = 3


def save_point_cloud_glb(
    path: Path,
    points: Float[Tensor, "*batch 3"],
    colors: Float[Tensor, "*batch 3"],
    confidence: Float[Tensor, "*batch"] | None = None,
    *,
    min_confidence: float | None = None,
    drop_fraction: float = 0.0,
) -> int:
    """As :func:`vist3a.export.ply.save_point_cloud`, as GLB; colours (sRGB in [0, 1]) are stored linear with 16 bits.

    Confidences become the attribute ``_CONFIDENCE``.
    """
    xyz, rgb, trust = filtered_points(points, colors, confidence, min_confidence, drop_fraction)
    if len(xyz) == 0:
        raise ValueError(f"{path} was not written: no point is left, and glTF has no empty point clouds")
    attributes = {"POSITION": flip_points(xyz).numpy(), "COLOR_0": linear_rgba(rgb, torch.ones_like(rgb[:, 0]))}
    if trust is not None:
        attributes["_CONFIDENCE"] = trust[:, None].numpy()
    # Colours are as seen, so no light must fall on them.
    unlit = {"materials": [{"extensions": {"KHR_materials_unlit": {}}}], "extensionsUsed": ["KHR_materials_unlit"]}
    write_glb(path, attributes, {"material": 0}, unlit)
    return len(xyz)


def load_point_cloud_glb(path: Path) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n 3"], Float[Tensor, " n"] | None]:
    """Points, sRGB colours in [0, 1] and, where the file has it, confidence, of a file of this module."""
    arrays = read_glb(path)
    if "COLOR_0" not in arrays:
        raise ValueError(f"{path} holds no coloured points, only {', '.join(sorted(arrays))}")
    linear = torch.from_numpy(arrays["COLOR_0"][:, :3].astype(np.float32) / 65535)
    trust = arrays.get("_CONFIDENCE")
    return (
        flip_points(torch.from_numpy(arrays["POSITION"])),
        _srgb(linear),
        None if trust is None else torch.from_numpy(trust[:, 0]),
    )


def save_gaussians_glb(path: Path, gaussians: Gaussians) -> None:
    """Write one set (a batch of one), float32: linear scales and opacities, quaternions xyzw, harmonics up to degree 3.

    Readers without the extension draw points in the colour of the constant band.
    """
    g = turn_to_opengl(check_writable(path, gaussians))
    if g.means.shape[1] == 0:
        raise ValueError(f"{path} was not written: glTF has no empty sets of Gaussians")
    bands = min(g.harmonics.shape[2], (MAX_DEGREE + 1) ** 2)
    attributes = {
        "POSITION": g.means[0].numpy(),
        "COLOR_0": linear_rgba((0.5 + BAND_ZERO * g.harmonics[0, :, 0]).clamp(0, 1), g.opacities[0]),
        # From wxyz to the order of glTF, xyzw.
        f"{SPLATS}:ROTATION": g.rotations[0][:, [1, 2, 3, 0]].numpy(),
        f"{SPLATS}:SCALE": g.scales[0].numpy(),
        f"{SPLATS}:OPACITY": g.opacities[0][:, None].numpy(),
    }
    attributes |= {name: g.harmonics[0, :, i].numpy() for i, name in enumerate(_band_names(bands))}
    settings = {
        "kernel": "ellipse",
        "colorSpace": "srgb_rec709_display",
        "projection": "perspective",
        "sortingMethod": "cameraDistance",
    }
    write_glb(path, attributes, {"extensions": {SPLATS: settings}}, {"extensionsUsed": [SPLATS]})


def load_gaussians_glb(path: Path) -> Gaussians:
    """Read a file of this module: a batch of one."""
    arrays = {name.removeprefix(f"{SPLATS}:"): torch.from_numpy(array) for name, array in read_glb(path).items()}
    if "ROTATION" not in arrays:
        raise ValueError(f"{path} holds no Gaussians, only {', '.join(sorted(arrays))}")
    degree = max(int(name.split("_")[2]) for name in arrays if name.startswith("SH_DEGREE"))
    harmonics = [arrays[name.removeprefix(f"{SPLATS}:")] for name in _band_names((degree + 1) ** 2)]
    gaussians = Gaussians(
        means=arrays["POSITION"][None],
        scales=arrays["SCALE"][None],
        rotations=arrays["ROTATION"][:, [3, 0, 1, 2]][None],
        opacities=arrays["OPACITY"][None, :, 0],
        harmonics=torch.stack(harmonics, dim=1)[None],
    )
    return turn_to_opengl(gaussians)


def _band_names(bands: int) -> list[str]:
    degrees = range(degree_of_bands(bands) + 1)
    return [f"{SPLATS}:SH_DEGREE_{degree}_COEF_{i}" for degree in degrees for i in range(2 * degree + 1)]


def linear_rgba(srgb: Float[Tensor, "n 3"], alpha: Float[Tensor, " n"]) -> np.ndarray:
    """Colours of glTF are linear; transfer function of IEC 61966-2-1."""
    value = srgb.double()
    linear = torch.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    rgba = torch.cat([linear, alpha[:, None]], dim=1)
    return (rgba * 65535).round().numpy().astype(np.uint16)


def _srgb(linear: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    power = 1.055 * linear ** (1 / 2.4) - 0.055
    return torch.where(linear <= 0.0031308, linear * 12.92, power)

"""An exporter: the points as text, a line ``x y z red green blue`` each, as CloudCompare and MeshLab read it.

Configured as ``generate.formats: [xyz]``, or asked for by ``vist3a export SCENE --to xyz``.
"""

from __future__ import annotations

from pathlib import Path

import torch

from vist3a.export.formats import Exported
from vist3a.runtime.atomic import replacing


def save_xyz(folder: Path, exported: Exported) -> Path:
    """Write ``points.xyz`` (unit and frame of the network, colors 0 to 255)."""
    path = folder / "points.xyz"
    colors = (255 * exported.frames[0].movedim(1, -1).reshape(-1, 3)).round().clamp(0, 255)
    rows = torch.cat([exported.scene.points[0].reshape(-1, 3), colors], dim=1).tolist()
    with replacing(path) as partial:
        partial.write_text("".join(f"{x:.6f} {y:.6f} {z:.6f} {r:.0f} {g:.0f} {b:.0f}\n" for x, y, z, r, g, b in rows))
    return path

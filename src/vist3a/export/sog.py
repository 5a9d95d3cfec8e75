"""Gaussians as SOG of PlayCanvas, which web viewers open: a zip of pictures, about a seventh of the PLY.

The package gaussforge quantizes: means to 16 bits of the logarithm of their distance along each axis, scales and colors to 256
values that it finds, rotations to 26 bits, opacities to 8 (from 1/255 to 254/255), higher harmonics to a table of at most
65536 sets. Axes are what they were, as in files of PlayCanvas's own tool.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile, ZipInfo

from vist3a.export.ply import check_writable, save_gaussians
from vist3a.records import Gaussians
from vist3a.runtime.atomic import replacing

NEEDS = "SOG needs gaussforge, which is not installed here; allowed: pip install 'vist3a[splats]'"
MAX_DEGREE = 3
META = "meta.json"


def save_sog(path: Path, gaussians: Gaussians, comments: Sequence[str] = ()) -> None:
    """Write one set (a batch of one), harmonics up to degree 3; ``comments`` stand under ``asset`` in ``meta.json``.

    Raises:
        ValueError: It is not one set, not finite, or empty, or gaussforge refuses it.
        ModuleNotFoundError: The extra ``splats`` is not installed.

    Example:
        >>> save_sog(Path("scene.sog"), scene.gaussians, ["unit: meter"])
    """
    try:
        from gaussforge import GaussForge
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(NEEDS) from error
    g = check_writable(path, gaussians)
    if not g.means.shape[1]:
        raise ValueError(f"{path} was not written: SOG files hold at least one Gaussian")
    with replacing(path) as temporary:
        whole = temporary.with_suffix(".ply")
        save_gaussians(whole, replace(g, harmonics=g.harmonics[:, :, : (MAX_DEGREE + 1) ** 2]))
        made = GaussForge().convert(whole.read_bytes(), "ply", "sog")
        if "error" in made:
            raise ValueError(f"{path} was not written: gaussforge says {made['error']!r}")
        temporary.write_bytes(_commented(made["data"], comments))


def _commented(data: bytes, comments: Sequence[str]) -> bytes:
    """The same archive with comments in its description, which readers may ignore, and no time: equal Gaussians, equal bytes."""
    out = io.BytesIO()
    with ZipFile(io.BytesIO(data)) as made, ZipFile(out, "w") as archive:
        for name in made.namelist():
            content = made.read(name)
            if name == META:
                meta = json.loads(content)
                meta["asset"] = {**meta.get("asset", {}), "comments": list(comments)}
                content = json.dumps(meta).encode()
            archive.writestr(ZipInfo(name), content)
    return out.getvalue()

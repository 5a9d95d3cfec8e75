"""Gaussians in the compressed PLY of PlayCanvas, which web viewers open: about 16 bytes each without higher harmonics."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from vist3a.export.ply import OPACITY_EPSILON, SCALE_MIN, check_writable
from vist3a.records import Gaussians
from vist3a.runtime.atomic import replacing
from vist3a.runtime.numerics import threads_kept

NEEDS = "compressed PLY needs gsply, which is not installed here; allowed: pip install 'vist3a[splats]'"
MAX_DEGREE = 3


def save_compressed_ply(path: Path, gaussians: Gaussians, comments: Sequence[str] = ()) -> None:
    """Write one set (a batch of one), quantized in groups of 256; harmonics up to degree 3. ``comments`` go into the header.

    Raises:
        ValueError: It is not one set, not finite, or empty.
        ModuleNotFoundError: The extra ``splats`` is not installed.
    """
    try:
        import gsply
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(NEEDS) from error
    g = check_writable(path, gaussians)
    if not g.means.shape[1]:
        raise ValueError(f"{path} was not written: compressed PLY files hold at least one Gaussian")
    higher = g.harmonics[0, :, 1 : (MAX_DEGREE + 1) ** 2]
    with threads_kept():
        data = gsply.compress_to_bytes(
            g.means[0].numpy(),
            g.scales[0].clamp(min=SCALE_MIN).log().numpy(),
            g.rotations[0].numpy(),
            torch.logit(g.opacities[0], OPACITY_EPSILON).numpy(),
            g.harmonics[0, :, 0].contiguous().numpy(),
            higher.contiguous().numpy() if higher.shape[1] else None,
        )
    # Comments stand behind the line that names the format.
    head, mark, rest = data.partition(b"format binary_little_endian 1.0\n")
    lines = "".join(f"comment {line}\n" for line in comments).encode()
    with replacing(path) as temporary:
        temporary.write_bytes(head + mark + lines + rest)

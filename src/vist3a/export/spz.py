"""Gaussians as SPZ: about a tenth of the PLY, read by most viewers (Niantic's open format, version 3).

A gzip stream of a header and of one block per property, all Gaussians in each: means (24-bit fixed point), opacity,
colour, log scale (a byte each), rotation (32 bits), spherical harmonics (a byte each). Axes are those of OpenGL (x right,
y up, z backward), so y and z change their sign on the way.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.export.axes import turn_to_opengl
from vist3a.export.ply import check_writable
from vist3a.geometry.spherical_harmonics import degree_of_bands
from vist3a.records import Gaussians
from vist3a.runtime.atomic import replacing

MAGIC, VERSION, HEADER = 0x5053474E, 3, struct.Struct("<IIIBBBB")
MAX_DEGREE = 3
MAX_GAUSSIANS = 10_000_000
"""A file that says more is refused, so that a broken header cannot ask for all memory."""
COLOR_SCALE = 0.15
LOG_SCALE_MIN, LOG_SCALE_STEP = -10.0, 1 / 16
MAX_FRACTION_BITS = 16
ROTATION_LEVELS = 511


def save_spz(path: Path, gaussians: Gaussians) -> None:
    """Write one set (a batch of one). Spherical harmonics above degree 3 are left out: the format has none.

    Errors: means half of 2^-bits with the most bits (at most 16) that hold the farthest mean in 24; opacity half of 1/255; log
    scales 1/32 between -10 and 5.9; DC harmonics 1/76 (and |DC| <= 3.3); higher harmonics 1/256 (and within [-1, 1)).
    """
    g = turn_to_opengl(check_writable(path, gaussians))
    bands = min(g.harmonics.shape[2], (MAX_DEGREE + 1) ** 2)
    means = g.means[0]
    bits = _fraction_bits(float(means.abs().max()) if len(means) else 0.0, path)
    blocks = [
        # Exact in float32, which has 24 bits as well.
        _int24((means * 2.0**bits).round().to(torch.int32).numpy()),
        _bytes(g.opacities[0] * 255),
        _bytes((g.harmonics[0, :, 0] * COLOR_SCALE + 0.5) * 255),
        _bytes((g.scales[0].log() - LOG_SCALE_MIN) / LOG_SCALE_STEP),
        _pack_rotations(g.rotations[0]).tobytes(),
        _bytes(g.harmonics[0, :, 1:bands] * 128 + 128),
    ]
    header = HEADER.pack(MAGIC, VERSION, len(means), degree_of_bands(bands), bits, 0, 0)
    with replacing(path) as temporary:
        # No time stamp: the same Gaussians give the same bytes.
        temporary.write_bytes(gzip.compress(header + b"".join(blocks), compresslevel=9, mtime=0))


def load_spz(path: Path) -> Gaussians:
    """Read such a file (version 3): a batch of one, float32, linear scales and opacities."""
    try:
        data = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is not a readable SPZ file: {error}") from error
    if len(data) < HEADER.size:
        raise ValueError(f"{path} is not a readable SPZ file: it ends inside the header")
    magic, version, count, degree, bits, _, _ = HEADER.unpack_from(data)
    if magic != MAGIC or version != VERSION or degree > MAX_DEGREE or count > MAX_GAUSSIANS:
        raise ValueError(
            f"{path}: magic {magic:#x}, version {version}, degree {degree}, {count} Gaussians; "
            f"allowed: {MAGIC:#x}, {VERSION}, 0 to {MAX_DEGREE}, {MAX_GAUSSIANS}"
        )
    higher = (degree + 1) ** 2 - 1
    # Bytes per Gaussian: mean, opacity, color, scale, rotation, higher harmonics.
    widths = (9, 1, 3, 3, 4, 3 * higher)
    if len(data) != HEADER.size + count * sum(widths):
        raise ValueError(f"{path}: {len(data)} bytes for {count} Gaussians of degree {degree}; the file is damaged")
    table = np.frombuffer(data, dtype=np.uint8, offset=HEADER.size)
    parts = np.split(table, np.cumsum([count * width for width in widths])[:-1])
    opacity, color, scale, harmonics = (torch.from_numpy(parts[i].astype(np.float32)) for i in (1, 2, 3, 5))
    dc = (color.view(count, 1, 3) / 255 - 0.5) / COLOR_SCALE
    rest = (harmonics.view(count, higher, 3) - 128) / 128
    gaussians = Gaussians(
        means=torch.from_numpy((_from_int24(parts[0]) * 2.0**-bits).astype(np.float32)).view(1, count, 3),
        scales=(scale.view(1, count, 3) * LOG_SCALE_STEP + LOG_SCALE_MIN).exp(),
        rotations=_unpack_rotations(parts[4].view("<u4"))[None],
        opacities=(opacity / 255)[None],
        harmonics=torch.cat([dc, rest], dim=1)[None],
    )
    return turn_to_opengl(gaussians)  # its own inverse


def _fraction_bits(farthest: float, path: Path) -> int:
    """Bits behind the point, so that ``farthest`` still fits into 24 bits with sign."""
    bits = MAX_FRACTION_BITS if farthest == 0 else min(MAX_FRACTION_BITS, math.floor(math.log2((2**23 - 1) / farthest)))
    if bits < 0:
        raise ValueError(
            f"{path} was not written: a Gaussian at {farthest:g} is too far out for SPZ (at most {2**23 - 1})"
        )
    return bits


def _int24(values: np.ndarray) -> bytes:
    """The lower three bytes of each, little end first."""
    return np.ascontiguousarray(values.astype("<i4").reshape(-1, 1).view(np.uint8)[:, :3]).tobytes()


def _from_int24(data: np.ndarray) -> np.ndarray:
    wide = np.zeros((len(data) // 3, 4), dtype=np.uint8)
    wide[:, 1:] = data.reshape(-1, 3)
    # Shifting down from the upper three bytes carries the sign along.
    return wide.view("<i4")[:, 0] >> 8


def _bytes(values: Tensor) -> bytes:
    return values.round().clamp(0, 255).to(torch.uint8).contiguous().numpy().tobytes()


def _pack_rotations(rotations: Float[Tensor, "n 4"]) -> np.ndarray:
    """32 bits each: index (x, y, z, w) of the largest component in the top two, the others with a sign and nine bits.

    The largest is made positive and follows from the unit length; the others are at most 1/sqrt(2).
    """
    xyzw = rotations[:, [1, 2, 3, 0]].double().numpy()
    largest = np.abs(xyzw).argmax(axis=1)
    # q and -q are the same rotation.
    xyzw = xyzw * np.where(np.take_along_axis(xyzw, largest[:, None], 1) < 0, -1.0, 1.0)
    packed = largest.astype(np.uint64)
    for component in range(4):
        value = xyzw[:, component]
        size = np.minimum(np.floor(np.abs(value) * math.sqrt(2) * ROTATION_LEVELS + 0.5), ROTATION_LEVELS)
        word = (packed << np.uint64(10)) | ((value < 0).astype(np.uint64) << np.uint64(9)) | size.astype(np.uint64)
        packed = np.where(largest == component, packed, word)
    return packed.astype("<u4")


def _unpack_rotations(packed: np.ndarray) -> Float[Tensor, "n 4"]:
    largest = packed >> 30
    xyzw = np.zeros((len(packed), 4))
    rest = packed.astype(np.int64)
    # The last one packed lies lowest.
    for component in (3, 2, 1, 0):
        size = (rest & 511) / (math.sqrt(2) * ROTATION_LEVELS)
        here = largest != component
        xyzw[:, component] = np.where(here, np.where(rest & 512, -size, size), 0.0)
        rest = np.where(here, rest >> 10, rest)
    # Rounded components may have a length of more than one.
    left = np.sqrt(np.maximum(1 - (xyzw**2).sum(1), 0))
    np.put_along_axis(xyzw, largest.astype(np.int64)[:, None], left[:, None], 1)
    return torch.from_numpy(xyzw[:, [3, 0, 1, 2]].astype(np.float32))

"""Pictures as people have them, written for tests, with the 8-bit RGB that they mean."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

# Columns of primaries under D50 as ICC profiles hold them (red, green, blue; each X, Y, Z).
SRGB = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
DISPLAY_P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
ADOBE_RGB = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
TURNS = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: lambda x: np.rot90(x, 1),
}
"""What each EXIF orientation asks for."""


def colours(seed: int, height: int = 48, width: int = 64) -> np.ndarray:
    """Smooth random colours without symmetry, [height, width, 3] in [0, 1]."""
    coarse = np.random.default_rng(seed).random((4, 5, 3), dtype=np.float32)
    planes = [Image.fromarray(coarse[..., k]).resize((width, height), Image.Resampling.BICUBIC) for k in range(3)]
    return np.clip(np.stack([np.array(plane) for plane in planes], axis=-1), 0, 1).astype(np.float64)


def png(values: np.ndarray, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of 16-bit grey, grey and alpha, RGB or RGBA, by hand: [rows, columns, channels]."""
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[values.shape[2]]
    rows = values.astype(">u2").reshape(len(values), -1)
    pixels = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, kind, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(pixels)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    )


def profile(primaries: tuple[tuple[float, ...], ...], gamma: float, name: str) -> bytes:
    """An ICC profile of three primaries and a power; of grey where ``primaries`` is empty."""

    def fixed(*numbers: float) -> bytes:
        return b"".join(struct.pack(">i", round(number * 65536)) for number in numbers)

    white = (0.9642, 1.0, 0.8249)
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))
    text = name.encode() + b"\0"
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(78),
        b"wtpt": b"XYZ \0\0\0\0" + fixed(*white),
    }
    if primaries:
        tags |= {
            letter + b"XYZ": b"XYZ \0\0\0\0" + fixed(*p)
            for letter, p in zip((b"r", b"g", b"b"), primaries, strict=True)
        }
        tags |= {letter + b"TRC": curve for letter in (b"r", b"g", b"b")}
    else:
        tags[b"kTRC"] = curve
    table, data, start = b"", b"", 128 + 4 + 12 * len(tags)
    for tag, content in tags.items():
        table += tag + struct.pack(">II", start + len(data), len(content))
        data += content + bytes(-len(content) % 4)
    body = struct.pack(">I", len(tags)) + table + data
    space = b"RGB " if primaries else b"GRAY"
    head = struct.pack(">I4sI4s4s4s", 128 + len(body), b"lcms", 0x02400000, b"mntr", space, b"XYZ ")
    head += struct.pack(">6H4s", 2024, 1, 1, 0, 0, 0, b"acsp") + bytes(28) + fixed(*white)
    return head.ljust(128, b"\0") + body


def in_srgb(values: np.ndarray, primaries: tuple[tuple[float, ...], ...], gamma: float) -> np.ndarray:
    """What values in [0, 1] of such a profile are in sRGB, [0, 255], in float64."""
    light = (values**gamma) @ np.array(primaries) @ np.linalg.inv(np.array(SRGB))
    light = np.clip(light, 0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def bytes_of(values: np.ndarray) -> np.ndarray:
    """[0, 1] to bytes."""
    return np.round(values * 255).astype(np.uint8)


def saved(path: Path, values: np.ndarray, **options: object) -> Path:
    """Bytes saved by Pillow."""
    Image.fromarray(values).save(path, **options)
    return path

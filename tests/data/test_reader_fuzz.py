"""Seeded pictures and videos of many kinds, whole and damaged: near what they mean, or one sentence; no hang, no silence."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from picture_kinds import DISPLAY_P3, TURNS, bytes_of, colours, in_srgb, png, profile
from PIL import Image
from video_kinds import TURNED, coded, encode, show_by

from vist3a.data.rejected import RejectedError
from vist3a.data.sources import scan

SECONDS = 30
LOSSLESS = ("png", "tif", "bmp", "tga", "ppm", "qoi", "jp2", "sgi", "pcx", "dds")
LOSSY = ("jpg", "webp", "avif")
MODES = {
    "png": ("RGB", "RGBA", "L", "LA", "P", "1", "16", "16RGB", "16LA"),
    "tif": ("RGB", "RGBA", "L", "P", "1", "CMYK", "16"),
    "jpg": ("RGB", "L", "CMYK"),
    "webp": ("RGB", "RGBA"),
    "avif": ("RGB", "RGBA", "L"),
    "bmp": ("RGB", "L", "P", "1"),
    "tga": ("RGB", "RGBA", "L", "P"),
    "ppm": ("RGB", "L", "1", "16"),
    "jp2": ("RGB", "RGBA", "L"),
    "dds": ("RGB", "RGBA"),
    "qoi": ("RGB", "RGBA"),
    "sgi": ("RGB", "L"),
    "pcx": ("RGB", "L", "P"),
}
VIDEOS = (
    ("mp4", "libx264", "yuv420p"), ("mp4", "libx265", "yuv420p10le"), ("mov", "prores_ks", "yuv422p10le"),
    ("mov", "prores_ks", "yuva444p10le"), ("mov", "qtrle", "argb"), ("mov", "png", "rgba"), ("mkv", "ffv1", "yuv444p12le"),
    ("mkv", "ffv1", "gray16le"), ("mkv", "libx264", "yuv444p"), ("webm", "libvpx-vp9", "yuv420p"),
    ("webm", "libvpx-vp9", "yuva420p"), ("webm", "libvpx", "yuv420p"), ("avi", "mjpeg", "yuvj420p"),
    ("avi", "huffyuv", "yuv422p"), ("avi", "utvideo", "gbrap"), ("mpg", "mpeg2video", "yuv420p"), ("ts", "libx264", "yuv420p"),
    ("m2ts", "mpeg2video", "yuv420p"), ("mxf", "mpeg2video", "yuv422p"), ("flv", "flv", "yuv420p"), ("wmv", "wmv2", "yuv420p"),
    ("3gp", "mpeg4", "yuv420p"), ("ogv", "libvpx", "yuv420p"), ("nut", "ffv1", "yuv420p"), ("y4m", "wrapped_avframe", "yuv420p"),
    ("h264", "libx264", "yuv420p"), ("hevc", "libx265", "yuv420p"), ("mjpg", "mjpeg", "yuvj444p"), ("apng", "apng", "rgba"),
    ("gif", "gif", "rgb8"), ("ivf", "libvpx", "yuv420p"), ("swf", "flv", "yuv420p"),
    ("mkv", "coded 1", ""), ("mkv", "coded 5", ""), ("mkv", "coded 9", ""),
)  # fmt: skip
OTHER_ENDINGS = (
    "png",
    "jpg",
    "tif",
    "mp4",
    "mkv",
    "gif",
    "txt",
    "mp5",
    "",
    "JPEG",
    "avi",
    "heic",
    "webp",
    "csv",
    "tar",
)


@dataclass
class Case:
    """A file, what it means (frames [rows, columns, 3] in [0, 255]; none where that is lost), and how near it must be read."""

    path: Path
    wanted: list[np.ndarray]
    near: float
    said: dict[str, Any] = field(default_factory=dict)


def make_picture(folder: Path, rng: np.random.Generator) -> Case:
    ending = str(rng.choice((*LOSSLESS, *LOSSY)))
    mode = str(rng.choice(MODES[ending]))
    values = colours(int(rng.integers(1 << 30)), int(rng.integers(33, 70)), int(rng.integers(33, 70)))
    values[..., 0] *= 0.9  # never grey by chance
    alpha = np.clip(values[..., 1:2] * 2 - 0.5, 0, 1)
    grey = values[..., :1]
    path = folder / f"a.{ending}"
    options: dict[str, Any] = {"jpg": {"quality": 95}, "webp": {"quality": 95}, "avif": {"quality": 95}}.get(ending, {})
    near = 8.0 if ending in LOSSY else 1.1
    said: dict[str, Any] = {"ending": ending, "mode": mode}
    turn = 1
    if mode.startswith("16"):
        deep = {"16": grey, "16RGB": values, "16LA": np.concatenate([grey, alpha], -1)}[mode]
        numbers = np.round(deep * 65535)
        wanted = numbers[..., : 1 if mode != "16RGB" else 3] / 257
        if mode == "16LA":
            wanted = wanted * numbers[..., 1:] / 65535
        if ending == "png":
            path.write_bytes(png(numbers))
        elif ending == "ppm":
            path.write_bytes(b"P5 %d %d 65535\n" % numbers.shape[1::-1] + numbers.astype(">u2").tobytes())
        else:
            Image.fromarray(numbers[..., 0].astype(np.uint16)).save(path)
    else:
        colour, see = bytes_of(values), bytes_of(alpha)
        whole = np.concatenate([colour, see], -1)
        image = {
            "RGBA": lambda: Image.fromarray(whole),
            "LA": lambda: Image.fromarray(np.concatenate([colour[..., :1], see], -1)),
            "CMYK": lambda: Image.fromarray(colour).convert("CMYK"),
        }.get(mode, lambda: Image.fromarray(colour).convert(mode))()
        flat = np.array(image.convert("RGB"), dtype=float)
        wanted = flat * see / 255 if mode in {"RGBA", "LA"} else flat
        if ending in {"jpg", "png", "webp", "tif", "avif"}:
            if rng.random() < 0.5:
                turn = int(rng.integers(1, 9))
                options["exif"] = Image.Exif()
                options["exif"][0x0112] = turn
            if mode in {"RGB", "RGBA"} and rng.random() < 0.4:
                options["icc_profile"] = profile(DISPLAY_P3, 563 / 256, "wide")
                wanted = in_srgb(flat / 255, DISPLAY_P3, 2.2) * (see / 255 if mode == "RGBA" else 1)
        if ending == "tif":
            options["compression"] = str(rng.choice(["raw", "tiff_lzw", "packbits", "tiff_adobe_deflate"]))
        said |= {
            "turn": turn,
            "profile": "icc_profile" in options,
            **{k: options[k] for k in ("compression",) if k in options},
        }
        if ending == "jp2":
            options["irreversible"] = False
        image.save(path, **options)
    return Case(path, [TURNS[turn](np.broadcast_to(wanted, (*wanted.shape[:2], 3)))], near, said)


def make_video(folder: Path, rng: np.random.Generator) -> Case:
    ending, codec, pixels = VIDEOS[int(rng.integers(len(VIDEOS)))]
    height, width = 48, 64
    seed, views = int(rng.integers(1 << 30)), 5
    wide = 0.1 + 0.8 * colours(seed, height, width + 4 * views)
    values = [wide[:, 4 * i : 4 * i + width] for i in range(views)]
    colour = [bytes_of(value) for value in values]
    path = folder / f"a.{ending}"
    wanted = [frame.astype(float) for frame in colour]
    said: dict[str, Any] = {"ending": ending, "codec": codec, "pixels": pixels}
    near = 8.0
    options = {
        "libvpx": {"b": "2M"},
        "libvpx-vp9": {"auto-alt-ref": "0", "crf": "10", "b": "0"},
        "libx265": {"x265-params": "log-level=none"},
    }
    if codec.startswith("coded"):
        matrix, full, bits = int(codec.split()[1]), bool(rng.random() < 0.5), int(rng.choice([8, 10, 12]))
        frames: list[Any] = [coded(value, matrix, full, bits) for value in values]
        encode(path, frames, "ffv1", frames[0].format.name, tags=(matrix, 2 if full else 1, 1, 1))
        return Case(path, wanted, 2.0, said | {"full": full, "bits": bits})
    if pixels.startswith("gray"):
        wanted = [np.broadcast_to(np.array(Image.fromarray(f).convert("L"), float)[..., None], f.shape) for f in colour]
    see = np.full((height, width, 1), 255, np.uint8)
    if pixels in {"yuva444p10le", "argb", "rgba", "yuva420p", "gbrap"}:
        see[:, :20], see[:, 20:30] = 0, 100
        colour = [np.concatenate([frame, see], -1) for frame in colour]
        wanted = [frame * (see / 255) for frame in wanted]
    if codec == "gif":
        near = 20.0
    encode(path, colour, codec, pixels, options.get(codec), rate=25 if ending == "mxf" else 10)
    if ending == "mp4" and rng.random() < 0.7:
        name = str(rng.choice(list(TURNED)))
        show_by(path, TURNED[name][0])
        wanted = [TURNED[name][1](frame) for frame in wanted]
        said["turn"] = name
    return Case(path, wanted, near, said)


def harm(case: Case, rng: np.random.Generator) -> None:
    """Nothing, a cut, damaged bytes, or another ending."""
    content = bytearray(case.path.read_bytes())
    kind = rng.random()
    if kind < 0.55:
        return
    if kind < 0.85:
        if kind < 0.7:
            content = content[: int(len(content) * rng.random())]
        else:
            places = rng.integers(0, len(content), int(rng.integers(1, 30)))
            for place in places:
                content[place] = int(rng.integers(256))
        case.said["harm"] = "cut" if kind < 0.7 else "bytes"
        case.path.write_bytes(content)
        case.wanted = []
        return
    ending = str(rng.choice(OTHER_ENDINGS))
    case.said["renamed"] = ending
    case.path = case.path.rename(case.path.with_suffix(f".{ending}" if ending else ""))
    case.near = max(case.near, 8.0)
    if ending in {"txt", "csv", "mp5", "", "tar", "mp4", "mkv", "avi", "gif"} or len(case.wanted) > 1:
        case.wanted = []  # read by the other decoder, or named


@contextmanager
def no_hang() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise AssertionError(f"still reading after {SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def check(case: Case) -> str:
    """What became of a file: the mean error, or the sentence."""
    with no_hang():
        try:
            (source,) = scan(case.path.parent)
            frames = list(source.reader.frames())
            assert source.reader.pixel_aspect() > 0
        except RejectedError as error:
            sentence = str(error)
        except ValueError as error:
            sentence = str(error)
            assert "found no video and no image" in sentence
            assert case.path.name in sentence
        else:
            assert all(f.dtype == torch.uint8 and f.ndim == 3 and f.shape[0] == 3 for f in frames)
            if not case.wanted:
                return f"{len(frames)} frames"
            found = [frame.permute(1, 2, 0).numpy() for frame in frames]
            assert [f.shape for f in found] == [w.shape for w in case.wanted]
            error_of_all = float(np.mean([np.abs(f - w).mean() for f, w in zip(found, case.wanted, strict=True)]))
            assert error_of_all <= case.near, (error_of_all, case)
            return f"error {error_of_all:.2f}"
    assert "\n" not in sentence
    assert 20 < len(sentence) < 700
    assert not case.wanted, (sentence, case)
    return sentence


def one(folder: Path, seed: int) -> tuple[dict[str, Any], str]:
    rng = np.random.default_rng(seed)
    case = (make_picture if rng.random() < 0.5 else make_video)(folder, rng)
    harm(case, rng)
    return case.said, check(case)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(25))
def test_any_file_is_read_or_named(tmp_path: Path, seed: int) -> None:
    one(tmp_path, seed)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(25, 225))
def test_many_files_are_read_or_named(tmp_path: Path, seed: int) -> None:
    one(tmp_path, seed)

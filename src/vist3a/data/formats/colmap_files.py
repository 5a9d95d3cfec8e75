"""The two files of a COLMAP model that cameras are read from, as text and as binary."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vist3a.data.formats.text import number, read_text, whole
from vist3a.data.rejected import RejectedError

MODELS = (
    ("SIMPLE_PINHOLE", 3), ("PINHOLE", 4), ("SIMPLE_RADIAL", 4), ("RADIAL", 5), ("OPENCV", 8), ("OPENCV_FISHEYE", 8),
    ("FULL_OPENCV", 12), ("FOV", 5), ("SIMPLE_RADIAL_FISHEYE", 4), ("RADIAL_FISHEYE", 5), ("THIN_PRISM_FISHEYE", 12),
    ("RAD_TAN_THIN_PRISM_FISHEYE", 16), ("SIMPLE_DIVISION", 4), ("DIVISION", 5), ("SIMPLE_FISHEYE", 3), ("FISHEYE", 4),
    ("EUCM", 6), ("EQUIRECTANGULAR", 2),
)  # fmt: skip
"""Name and number of parameters by the number of the model in binary files, up to COLMAP 4.2."""
STATED = re.compile(r"#\s*Number of (?:cameras|images):\s*(\d{1,18})")


@dataclass(frozen=True)
class ModelCamera:
    """A camera by COLMAP's names, with its parameters in COLMAP's order."""

    model: str
    width: int
    height: int
    parameters: list[float]


@dataclass(frozen=True)
class ModelImage:
    """A registered picture: quaternion wxyz and translation of world to camera, and the number of its camera."""

    name: str
    camera: int
    numbers: tuple[float, ...]


@dataclass(frozen=True)
class ModelPart:
    """What could be read, and one sentence per entry that could not."""

    cameras: dict[int, ModelCamera]
    images: tuple[ModelImage, ...]
    dropped: tuple[str, ...] = ()


def text_model(folder: Path) -> ModelPart:
    """``cameras.txt`` and ``images.txt``; a damaged line costs its entry.

    Raises:
        RejectedError: A file is no text, or has no entry.
    """
    dropped: list[str] = []
    cameras: dict[int, ModelCamera] = {}
    for where, line in _camera_lines(folder / "cameras.txt", dropped):
        try:
            words = line.split()
            key = whole(words[0])
            if key in cameras:
                raise ValueError(f"camera {key} is listed twice; the first one counts")
            parameters = [number(word) for word in words[4:]]
            cameras[key] = ModelCamera(words[1], whole(words[2]), whole(words[3]), parameters)
        except (ValueError, IndexError) as error:
            dropped.append(f"{where}: {_said(error, 'CAMERA_ID MODEL WIDTH HEIGHT PARAMS[] are needed')}")
    images = []
    for where, line, points in _image_lines(folder / "images.txt", dropped):
        try:
            words = line.split(maxsplit=9)  # names may hold spaces
            image = ModelImage(words[9].rstrip(), whole(words[8]), tuple(number(word) for word in words[1:8]))
            if len(points.split()) % 3:
                raise ValueError("the list of its points is cut short; X Y POINT3D_ID of each are needed")
            # The image's id is read for its form alone: nothing here refers to it.
            whole(words[0])
            images.append(image)
        except (ValueError, IndexError) as error:
            dropped.append(f"{where}: {_said(error, 'IMAGE_ID, seven numbers of the pose, CAMERA_ID NAME are needed')}")
    if not images or not cameras:
        more = f" ({dropped[0]})" if dropped else ""
        raise RejectedError(f"the COLMAP model in {folder.name} is damaged; whole cameras and images are needed{more}")
    return ModelPart(cameras, tuple(images), tuple(dropped))


def binary_model(folder: Path) -> ModelPart:
    """``cameras.bin`` and ``images.bin``.

    Raises:
        RejectedError: A file is cut short, goes on behind its end, or has a camera model of an unknown number.
    """
    try:
        cameras = _binary_cameras(folder / "cameras.bin")
        return ModelPart(cameras, tuple(_binary_images(folder / "images.bin")))
    except RejectedError:
        raise
    except (OSError, ValueError, IndexError, OverflowError, struct.error) as error:
        raise RejectedError(
            f"the COLMAP model in {folder.name} is damaged; whole cameras and images are needed"
        ) from error


def _said(error: Exception, needed: str) -> str:
    return f"{error}; {needed}" if isinstance(error, ValueError) else needed


def _camera_lines(path: Path, dropped: list[str]) -> Iterator[tuple[str, str]]:
    lines = list(enumerate(read_text(path).splitlines(), 1))
    entries = [(f"{path.name} line {i}", line) for i, line in lines if line.strip() and not line.startswith("#")]
    yield from entries
    _count(path, [line for _, line in lines], len(entries), dropped)


def _image_lines(path: Path, dropped: list[str]) -> Iterator[tuple[str, str, str]]:
    """Place, first line and second line of each image; the second one lists its points and may be empty.

    As COLMAP does, empty lines and comments are skipped where an image is awaited, and only there.
    """
    lines = read_text(path).splitlines()
    count, place = 0, 0
    while place < len(lines):
        line = lines[place]
        place += 1
        if not line.strip() or line.startswith("#"):
            continue
        count += 1
        yield f"{path.name} line {place}", line, lines[place] if place < len(lines) else ""
        place += 1
    _count(path, lines, count, dropped)


def _count(path: Path, lines: list[str], found: int, dropped: list[str]) -> None:
    """A sentence where the head of a file states another number of entries than it has: that is how a cut text shows."""
    stated = next((int(match[1]) for line in lines if (match := STATED.match(line))), found)
    if stated != found:
        dropped.append(f"{path.name} has {found} entries, but its head says {stated}")


def _binary_cameras(path: Path) -> dict[int, ModelCamera]:
    content = path.read_bytes()
    (count,) = struct.unpack_from("<Q", content)
    place, cameras = 8, dict[int, ModelCamera]()
    for _ in range(count):
        # 24 bytes: id and model of 4 each, width and height of 8 each; the parameters follow as doubles.
        identity, kind, width, height = struct.unpack_from("<IiQQ", content, place)
        if not 0 <= kind < len(MODELS):
            known = f"0 to {len(MODELS) - 1} are known"
            raise RejectedError(f"{path.parent.name}/{path.name} has camera model number {kind}; {known}")
        name, numbers = MODELS[kind]
        parameters = struct.unpack_from(f"<{numbers}d", content, place + 24)
        place += 24 + 8 * numbers
        if identity in cameras:
            raise ValueError(f"camera {identity} is listed twice")
        cameras[identity] = ModelCamera(name, width, height, list(parameters))
    if place != len(content):
        raise ValueError(f"{len(content) - place} bytes behind the last camera")
    return cameras


def _binary_images(path: Path) -> Iterator[ModelImage]:
    content = path.read_bytes()
    (count,) = struct.unpack_from("<Q", content)
    place = 8
    for _ in range(count):
        # 64 bytes: id, quaternion and translation as doubles, id of the camera; then the name, ended by a zero.
        numbers = struct.unpack_from("<I7dI", content, place)
        end = content.index(b"\0", place + 64)
        (points,) = struct.unpack_from("<Q", content, end + 1)
        yield ModelImage(content[place + 64 : end].decode("utf-8"), numbers[8], numbers[1:8])
        # Behind the zero, the number of points, and 24 bytes for each of them (x, y, id).
        place = end + 9 + 24 * points
    if place != len(content):
        raise ValueError(f"{len(content) - place} bytes behind the last image")

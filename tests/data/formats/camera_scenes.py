"""One small scene as the camera files of every format, in any of the ways of writing them that mean the same."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image

from vist3a.data.formats import colmap, nerfstudio, realestate10k, scannet, seven_scenes
from vist3a.data.formats.posed import PosedViews

VIEWS, WIDTH, HEIGHT = 6, 32, 24
GL = np.diag([1.0, -1.0, -1.0, 1.0])
Files = dict[str, bytes]


@dataclass
class View:
    """A picture's number and its camera, float64: camera to world in OpenCV axes, intrinsics in pixels."""

    number: int
    pose: np.ndarray
    quaternion: np.ndarray  # wxyz of world to camera
    fx: float = 30.0
    fy: float = 31.0
    cx: float = 15.5
    cy: float = 12.25
    width: int = WIDTH
    height: int = HEIGHT


def views(fx: float = 30.0) -> list[View]:
    """Cameras on a smooth path."""
    made = []
    for i in range(VIEWS):
        q = np.array([1.0, 0.1 * i, 0.07 * i * i / 5, -0.05 * i])
        q /= np.linalg.norm(q)
        w, x, y, z = q
        rotation = np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
                [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
                [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
            ]
        )
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = rotation.T, [0.5 * i, -0.1 * i * i, 2 + 0.2 * i]
        made.append(View(i, pose, q, fx=fx))
    return made


def inverse(pose: np.ndarray) -> np.ndarray:
    """Of any matrix that has one; of others the transposed one, whose numbers are as wrong."""
    return np.linalg.inv(pose) if abs(np.linalg.det(pose)) > 1e-9 else pose.T


@dataclass
class Style:
    """How numbers, lines and lists are written; ``bad`` stands instead of number ``bad_at``, in the order of writing."""

    rng: random.Random
    plain: bool = True
    bad_at: int = -1
    bad: object = None
    written: int = 0
    newline: str = field(init=False)
    encoding: str = field(init=False)

    def __post_init__(self) -> None:
        self.newline = self.pick("\n", "\r\n")
        self.encoding = self.pick("utf-8", "utf-8-sig", "utf-16")

    def pick(self, usual: str, *others: str) -> str:
        return usual if self.plain else self.rng.choice([usual, *others])

    def shuffled(self, items: list) -> list:
        return items if self.plain else self.rng.sample(items, len(items))

    def value(self, value: float) -> object:
        """For binary files."""
        self.written += 1
        return self.bad if self.written - 1 == self.bad_at else value

    def number(self, value: float, sign: bool = True) -> str:
        if (found := self.value(value)) is not value:
            return str(found)
        ways = [f"{value!r}", f"{value:.17g}", f"{value:.18e}", f"{value:.18E}"]
        if value == int(value):
            ways += [f"{int(value)}", f"{int(value)}.0", f"{int(value)}e0"]
        text = ways[0] if self.plain else self.rng.choice(ways)
        return self.pick(text, f"+{text}") if sign and not text.startswith("-") else text

    def whole(self, value: int) -> str:
        if (found := self.value(value)) is not value:
            return str(found)
        return self.pick(f"{value}", f"+{value}", f"{value}.0", f"{value}e0")

    def gap(self) -> str:
        return self.pick(" ", "  ", "\t", " \t ")

    def text(self, lines: list[str]) -> bytes:
        ending = self.pick(self.newline, "", self.newline * 3)
        return (self.newline.join(lines) + ending).encode(self.encoding)

    def row(self, values: list[str]) -> str:
        return self.pick("", " ") + self.gap().join(values) + self.pick("", " ", "\t")

    def matrix(self, matrix: np.ndarray) -> bytes:
        return self.text([self.row([self.number(float(v)) for v in row]) for row in matrix])

    def json(self, value: object) -> str:
        space = self.pick("", " ", "\n", "\r\n\t")
        if isinstance(value, dict):
            inner = f",{space}".join(
                f'"{k}"{space}:{space}{self.json(v)}' for k, v in self.shuffled(list(value.items()))
            )
            return f"{{{space}{inner}{space}}}"
        if isinstance(value, list | tuple):
            return f"[{space}{f',{space}'.join(self.json(v) for v in value)}{space}]"
        if isinstance(value, str):
            return '"' + value.replace("\\", "\\\\") + '"'
        return self.number(float(value), sign=False)


def intrinsics(view: View) -> dict[str, object]:
    return {
        "fl_x": view.fx, "fl_y": view.fy, "cx": view.cx, "cy": view.cy, "w": view.width, "h": view.height,
        "k1": 0.01, "k2": -0.002, "p1": 0.0, "p2": 0.001,
    }  # fmt: skip


def nerf_name(view: View, style: Style) -> str:
    return (
        style.pick("", "./") + style.pick("images/", "images\\", "images//", "images/../images/") + f"{view.number}.png"
    )


def nerfstudio_files(shown: list[View], style: Style, shared: bool = True) -> Files:
    frames = [
        {
            "file_path": nerf_name(view, style),
            "transform_matrix": (view.pose @ GL).tolist(),
            **({} if shared else intrinsics(view)),
        }
        for view in style.shuffled(shown)
    ]
    document = {"camera_model": "OPENCV", **(intrinsics(shown[0]) if shared else {}), "frames": frames}
    return {"transforms.json": style.text([style.json(document)])}


def nerfstudio_own_files(shown: list[View], style: Style) -> Files:
    return nerfstudio_files(shown, style, shared=False)


def blender_files(shown: list[View], style: Style) -> Files:
    """Names without an ending, the angle of view instead of a focal length, two files."""
    files = {}
    half = (len(shown) + 1) // 2
    for part, some in (("train", shown[:half]), ("test", shown[half:])):
        frames = [
            {"file_path": f"./images/{v.number}", "transform_matrix": (v.pose @ GL).tolist()}
            for v in style.shuffled(some)
        ]
        angle = 2 * np.arctan(WIDTH / 2 / shown[0].fx)
        files[f"transforms_{part}.json"] = style.text([style.json({"camera_angle_x": float(angle), "frames": frames})])
    return files


def colmap_text_files(shown: list[View], style: Style) -> Files:
    comment = style.pick("# a comment", "#", "")
    lens = shown[0]
    numbers = [lens.fx, lens.fy, lens.cx, lens.cy]
    size = [style.whole(lens.width), style.whole(lens.height)]
    cameras = [comment, "# Number of cameras: 1"]
    cameras.append(style.gap().join([style.whole(1), "PINHOLE", *size, *(style.number(n) for n in numbers)]))
    images = [comment, f"# Number of images: {len(shown)}, mean observations per image: 2"]
    for place, view in enumerate(style.shuffled(shown), 1):
        translation = -(inverse(view.pose)[:3, :3] @ view.pose[:3, 3])
        pose = [*view.quaternion.tolist(), *translation.tolist()]
        row = [style.whole(place), *(style.number(n) for n in pose), style.whole(1), f"{view.number}.png"]
        images += [style.gap().join(row), "10.5 20.5 -1 3.0 4.0 7" if place % 2 else ""]
        images += [style.pick("# between", "")] if not style.plain else []
    return {"sparse/0/cameras.txt": style.text(cameras), "sparse/0/images.txt": style.text(images)}


def colmap_binary_files(shown: list[View], style: Style) -> Files:
    lens = shown[0]
    numbers = [style.value(n) for n in (lens.fx, lens.fy, lens.cx, lens.cy)]
    cameras = struct.pack("<QiiQQ4d", 1, 1, 1, max(lens.width, 0), max(lens.height, 0), *numbers)
    images = struct.pack("<Q", len(shown))
    for place, view in enumerate(style.shuffled(shown), 1):
        translation = -(inverse(view.pose)[:3, :3] @ view.pose[:3, 3])
        pose = [style.value(n) for n in [*view.quaternion.tolist(), *translation.tolist()]]
        images += struct.pack("<i7di", place, *pose, 1) + f"{view.number}.png".encode() + b"\0"
        images += struct.pack("<Q", place % 3) + struct.pack("<ddq", 1.0, 2.0, -1) * (place % 3)
    return {"sparse/0/cameras.bin": cameras, "sparse/0/images.bin": images}


def realestate_files(shown: list[View], style: Style) -> Files:
    lines = ["https://example.org/watch?v=abc"]
    for view in style.shuffled(shown):
        lens = [view.fx / view.width, view.fy / view.height, view.cx / view.width, view.cy / view.height, 0.0, 0.0]
        numbers = [*lens, *inverse(view.pose)[:3].flatten().tolist()]
        lines.append(style.row([style.whole((view.number + 1) * 66733), *(style.number(float(n)) for n in numbers)]))
    return {"clip.txt": style.text(lines)}


def scannet_files(shown: list[View], style: Style) -> Files:
    lens = shown[0]
    k = np.eye(4)
    k[0, 0], k[1, 1], k[:2, 2] = lens.fx, lens.fy, (lens.cx, lens.cy)
    files = {f"pose/{view.number}.txt": style.matrix(view.pose) for view in shown}
    return {**files, "intrinsic/intrinsic_color.txt": style.matrix(k)}


def seven_scenes_files(shown: list[View], style: Style) -> Files:
    return {f"frame-{view.number:06d}.pose.txt": style.matrix(view.pose) for view in shown}


@dataclass(frozen=True)
class Format:
    """Writer of camera files, their reader, and where the pictures lie.

    ``has``: which parts of a camera the format states, a lens for each view, and whether views are listed (so also twice).
    """

    name: str
    write: Callable[[list[View], Style], Files]
    load: Callable[[Path], PosedViews]
    picture: Callable[[int], str]
    has: frozenset[str]
    scene: str = "."


LENS, SIZE, LIST, OWN = "lens", "size", "list", "own"
FORMATS = [
    Format("nerfstudio", nerfstudio_files, nerfstudio.load, lambda i: f"images/{i}.png", frozenset({LENS, SIZE, LIST})),
    Format(
        "nerfstudio per frame", nerfstudio_own_files, nerfstudio.load, lambda i: f"images/{i}.png",
        frozenset({LENS, SIZE, LIST, OWN}),
    ),
    Format("Blender", blender_files, nerfstudio.load, lambda i: f"images/{i}.png", frozenset({LIST})),
    Format("COLMAP text", colmap_text_files, colmap.load, lambda i: f"images/{i}.png", frozenset({LENS, SIZE, LIST})),
    Format("COLMAP binary", colmap_binary_files, colmap.load, lambda i: f"images/{i}.png", frozenset({LENS, LIST})),
    Format(
        "RealEstate10K", realestate_files, realestate10k.load, lambda i: f"clip/{(i + 1) * 66733}.png",
        frozenset({LENS, LIST, OWN}), "clip.txt",
    ),
    Format("ScanNet", scannet_files, scannet.load, lambda i: f"color/{i}.png", frozenset({LENS})),
    Format("7-Scenes", seven_scenes_files, seven_scenes.load, lambda i: f"frame-{i:06d}.color.png", frozenset()),
]  # fmt: skip


def write_pictures(folder: Path, form: Format) -> None:
    for i in range(VIEWS):
        path = folder / form.picture(i)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT), (40 * i, 90, 200 - 30 * i)).save(path)


def write_files(folder: Path, files: Files) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def changed(shown: list[View], place: int, **parts: object) -> list[View]:
    """The scene with other parts in one view."""
    return [replace(view, **parts) if i == place else view for i, view in enumerate(shown)]

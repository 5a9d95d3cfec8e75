"""One procedural scene written in the layouts of public data sets."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from vist3a.geometry.quaternion import quaternion_from_rotation
from vist3a_lab.procedural import WorldConfig, make_world

HEIGHT, WIDTH, VIEWS = 72, 96, 7


class Truth:
    """Pictures, cameras and depth of the scene that the layouts hold."""

    def __init__(self) -> None:
        world = make_world(WorldConfig(seed=5, frames=VIEWS, height=HEIGHT, width=WIDTH, supersample=1), [3])
        self.frames = (world.rgb[0] * 255).round().byte()
        self.depth = world.depth[0]
        self.cameras = world.cameras[0].to(dtype=torch.float64)
        k = self.cameras.intrinsics[0]
        self.fx, self.fy, self.cx, self.cy = (float(k[i, j]) for i, j in ((0, 0), (1, 1), (0, 2), (1, 2)))

    def picture(self, path: Path, view: int, size: tuple[int, int] = (HEIGHT, WIDTH)) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(self.frames[view].permute(1, 2, 0).numpy())
        image.resize(size[::-1], Image.Resampling.BICUBIC).save(path)

    def depth_picture(self, path: Path, view: int, unit: float = 1e-3, invalid: int = 0) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        values = (self.depth[view] / unit).round().numpy()
        values = np.where((values > 0) & (values < 65535), values, invalid).astype(np.uint16)
        Image.fromarray(values).save(path)


def text_matrix(matrix: torch.Tensor) -> str:
    return "\n".join(" ".join(f"{value:.9f}" for value in row) for row in matrix.tolist()) + "\n"


def write_nerfstudio(folder: Path, truth: Truth, reduced: str = "images", shared: bool = True) -> dict:
    """Frames out of order; full-size intrinsics with pictures of half the size where ``reduced`` is another folder."""
    factor = 1 if reduced == "images" else 2
    lens = {
        "w": WIDTH * factor, "h": HEIGHT * factor, "fl_x": truth.fx * factor, "fl_y": truth.fy * factor,
        "cx": truth.cx * factor, "cy": truth.cy * factor,
    }  # fmt: skip
    frames = []
    for i in range(VIEWS):
        truth.picture(folder / reduced / f"frame_{i + 7}.png", i)  # 9, 10: names sort by number, not by letter
        pose = truth.cameras.camera_to_world[i].clone()
        pose[:3, 1:3] *= -1
        frames.append({"file_path": f"images/frame_{i + 7}.png", "transform_matrix": pose.tolist()})
        if not shared:
            frames[-1].update(lens)
    content = {"camera_model": "OPENCV", **(lens if shared else {}), "frames": [*frames[::2], *frames[1::2]]}
    (folder / "transforms.json").write_text(json.dumps(content))
    return content


def write_scannet(folder: Path, truth: Truth) -> None:
    """Colour larger than depth, each with its own intrinsics."""
    for i in range(VIEWS):
        truth.picture(folder / "color" / f"{i * 10}.jpg", i, (2 * HEIGHT, 2 * WIDTH))
        truth.depth_picture(folder / "depth" / f"{i * 10}.png", i)
        (folder / "pose").mkdir(exist_ok=True)
        (folder / "pose" / f"{i * 10}.txt").write_text(text_matrix(truth.cameras.camera_to_world[i]))
    (folder / "intrinsic").mkdir()
    for name, factor in (("color", 2.0), ("depth", 1.0)):
        matrix = torch.eye(4)
        matrix[:3, :3] = truth.cameras.intrinsics[0]
        matrix[:2, :3] *= factor
        (folder / "intrinsic" / f"intrinsic_{name}.txt").write_text(text_matrix(matrix))


def write_seven_scenes(folder: Path, truth: Truth) -> None:
    folder.mkdir(parents=True)
    for i in range(VIEWS):
        stem = folder / f"frame-{i:06d}"
        truth.picture(stem.with_name(stem.name + ".color.png"), i, (480, 640))
        truth.depth_picture(stem.with_name(stem.name + ".depth.png"), i, invalid=65535)
        stem.with_name(stem.name + ".pose.txt").write_text(text_matrix(truth.cameras.camera_to_world[i]))


def write_realestate(path: Path, truth: Truth, stamps: list[int]) -> None:
    rows = ["https://example.org/watch?v=abc"]
    for i, stamp in enumerate(stamps):
        lens = [truth.fx / WIDTH, truth.fy / HEIGHT, truth.cx / WIDTH, truth.cy / HEIGHT, 0.0, 0.0]
        numbers = [*lens, *truth.cameras.world_to_camera[i, :3].flatten().tolist()]
        rows.append(" ".join([str(stamp), *(f"{number:.9f}" for number in numbers)]))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows) + "\n")


def colmap_numbers(truth: Truth, view: int) -> list[float]:
    pose = truth.cameras.world_to_camera[view]
    return [*quaternion_from_rotation(pose[:3, :3]).tolist(), *pose[:3, 3].tolist()]


def write_colmap_text(folder: Path, truth: Truth, model: str = "PINHOLE", place: str = "sparse/0") -> None:
    """Names in another order than the path; points of some images, an empty line for the others."""
    parameters = {
        "PINHOLE": [truth.fx, truth.fy, truth.cx, truth.cy],
        "SIMPLE_RADIAL": [truth.fx, truth.cx, truth.cy, 0.0],
        "THIN_PRISM_FISHEYE": [truth.fx, truth.fy, truth.cx, truth.cy, *[0.0] * 8],
    }[model]
    (folder / place).mkdir(parents=True)
    numbers = " ".join(str(value) for value in parameters)
    (folder / place / "cameras.txt").write_text(f"# Camera list\n1 {model} {WIDTH} {HEIGHT} {numbers}\n")
    rows = ["# Image list with two lines of data per image:"]
    for i in range(VIEWS):
        name = f"a b/{(3 * i) % VIEWS}.png"
        truth.picture(folder / "images" / name, i)
        rows.append(" ".join([str(i + 1), *(f"{n:.12f}" for n in colmap_numbers(truth, i)), "1", name]))
        rows.append("" if i % 2 else "10.5 20.5 -1 3.0 4.0 7")
    (folder / place / "images.txt").write_text("\n".join(rows) + "\n")


def write_colmap_binary(folder: Path, truth: Truth) -> None:
    (folder / "sparse").mkdir(parents=True)
    lens = [truth.fx, truth.fy, truth.cx, truth.cy, *[0.0] * 4]
    (folder / "sparse" / "cameras.bin").write_bytes(struct.pack("<QiiQQ8d", 1, 1, 4, WIDTH, HEIGHT, *lens))
    content = struct.pack("<Q", VIEWS)
    for i in range(VIEWS):
        name = f"{(3 * i) % VIEWS}.png"
        truth.picture(folder / "images" / name, i)
        content += struct.pack("<i7di", i + 1, *colmap_numbers(truth, i), 1) + name.encode() + b"\0"
        content += struct.pack("<Q", i) + struct.pack("<ddq", 1.0, 2.0, -1) * i
    (folder / "sparse" / "images.bin").write_bytes(content)

"""The kit of readers: it passes ours and one from outside, and says what is wrong with broken ones."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from example_packages import EXAMPLES
from PIL import Image
from torch import Tensor

from vist3a.data.formats import nerfstudio
from vist3a.data.formats.posed import PosedViews, inverse_pose
from vist3a.geometry.quaternion import rotation_from_quaternion
from vist3a.testing.readers import check_reader

sys.path.insert(0, str(EXAMPLES / "dataset_reader"))
import csv_cameras

VIEWS = 4


def poses() -> list[Tensor]:
    found = []
    for k in range(VIEWS):
        pose = torch.eye(4, dtype=torch.float64)
        quaternion = torch.tensor([1.0, 0.02 * k, 0.1 * k, -0.05 * k], dtype=torch.float64)
        pose[:3, :3] = rotation_from_quaternion(quaternion)
        pose[:3, 3] = torch.tensor([0.1 * k, 0.2, -0.3 * k])
        found.append(pose)
    return found


def pictures(folder: Path) -> list[str]:
    names = [f"{k}.png" for k in range(VIEWS)]
    for k, name in enumerate(names):
        Image.new("RGB", (40, 32), (40 * k, 100, 255 - 40 * k)).save(folder / name)
    return names


def write_table(folder: Path) -> None:
    lines = [",".join(("picture", "focal", *csv_cameras.POSE))]
    for name, pose in zip(pictures(folder), poses(), strict=True):
        lines.append(",".join([name, "38.5", *(repr(value) for value in pose[:3].flatten().tolist())]))
    (folder / csv_cameras.FILE).write_text("\n".join(lines) + "\n")


def write_transforms(folder: Path) -> None:
    frames = [
        {
            "file_path": name,
            "transform_matrix": (inverse_pose(pose) @ torch.diag(torch.tensor([1.0, -1, -1, 1]).double())).tolist(),
        }
        for name, pose in zip(pictures(folder), poses(), strict=True)
    ]
    camera = {"fl_x": 38.5, "fl_y": 38.5, "cx": 20, "cy": 16, "w": 40, "h": 32, "camera_model": "PINHOLE"}
    (folder / "transforms.json").write_text(json.dumps({**camera, "frames": frames}))


def test_the_example_keeps_the_contract() -> None:
    check_reader(csv_cameras, write_table, world_to_camera=poses())


def test_a_reader_of_ours_keeps_the_contract() -> None:
    check_reader(nerfstudio, write_transforms, world_to_camera=poses())


def changed(load: Any = csv_cameras.load, is_scene: Any = csv_cameras.is_scene) -> Any:
    return SimpleNamespace(load=load, is_scene=is_scene, __name__="broken")


def each(change: Any) -> Any:
    def load(folder: Path) -> PosedViews:
        found = csv_cameras.load(folder)
        return PosedViews(tuple(change(view) for view in found.views), found.dropped)

    return changed(load)


def leaves_a_file(folder: Path) -> PosedViews:
    (folder / "cache").write_text("seen")
    return csv_cameras.load(folder)


def forgets_lines(folder: Path) -> PosedViews:
    found = csv_cameras.load(folder)
    return PosedViews(found.views[:-1])


def trusts_the_table(folder: Path) -> PosedViews:
    lines = csv_cameras.read_text(folder / csv_cameras.FILE).splitlines()[1:]
    for line in lines:
        float(line.split(",")[13])
    return csv_cameras.load(folder)


def wants_all_pictures(folder: Path) -> PosedViews:
    found = csv_cameras.load(folder)
    if found.dropped:
        raise csv_cameras.RejectedError(found.dropped[0])
    return found


BROKEN = [
    (each(lambda v: replace(v, world_to_camera=inverse_pose(v.world_to_camera))), "is off what was written by"),
    (each(lambda v: replace(v, world_to_camera=torch.diag(torch.tensor([1.0, -1, -1, 1]).double()) @ v.world_to_camera)),
     "is off what was written by"),
    (each(lambda v: replace(v, world_to_camera=2 * v.world_to_camera)), "the pose is no rigid motion"),
    (each(lambda v: replace(v, world_to_camera=v.world_to_camera.float())), r"is \(4, 4\) torch.float32; expected"),
    (each(lambda v: replace(v, image=v.image.parent / "0.png")), "a picture is listed twice"),
    (each(lambda v: replace(v, lens=replace(v.lens, width=10))), "of 4 views are usable|cannot read the scene"),
    (changed(is_scene=lambda folder: True), "an empty folder is no scene"),
    (changed(is_scene=lambda folder: any(folder.glob("*.png"))), "pictures alone are no scene"),
    (changed(is_scene=lambda folder: False), "does not recognize what it reads"),
    (changed(is_scene=lambda folder: "cameras.csv" in [p.name for p in folder.iterdir()]), "is_scene ends in FileNotFoundError"),
    (changed(leaves_a_file), "the folder is another one after it was read"),
    (changed(forgets_lines), "3 views; 4 were written"),
    (changed(trusts_the_table), "cameras.csv cut in half ends in (ValueError|IndexError)"),
    (changed(wants_all_pictures), "one missing picture costs the whole scene"),
    (changed(lambda folder: list(csv_cameras.load(folder).views)), "load gave a list; expected PosedViews"),
    (SimpleNamespace(is_scene=csv_cameras.is_scene, __name__="broken"), r"a reader has load\(folder\)"),
]  # fmt: skip


@pytest.mark.parametrize(("reader", "sentence"), BROKEN, ids=[sentence for _, sentence in BROKEN])
def test_broken_readers_are_found(reader: Any, sentence: str) -> None:
    with pytest.raises(AssertionError, match=f"^broken: .*{sentence}"):
        check_reader(reader, write_table, world_to_camera=poses())

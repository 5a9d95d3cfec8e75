"""Camera files of every format, mutated: what means the same reads the same, what is broken costs one sentence.

Breaks that a text cannot show are left out: a number with other digits is another number.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from camera_scenes import (
    FORMATS,
    HEIGHT,
    LENS,
    LIST,
    OWN,
    SIZE,
    VIEWS,
    WIDTH,
    Files,
    Format,
    Style,
    changed,
    views,
    write_files,
    write_pictures,
)  # fmt: skip

from vist3a.data.formats.posed import PosedScene
from vist3a.data.rejected import RejectedError

SHORT, LONG = 40, 500
Broken = tuple[Files, list[int], set[int]]
"""Camera files, pictures to take away, and the views that the sentence may cost."""


@pytest.fixture(params=FORMATS, ids=lambda form: form.name)
def form(request, tmp_path) -> Format:
    write_pictures(tmp_path, request.param)
    return request.param


def read(folder, form: Format):
    """Cameras by the name of the picture (float64), and the sentences; the views are None where the scene is refused."""
    scene = PosedScene(folder / form.scene, form.load)
    try:
        content = scene.content
        again = scene.cameras(list(range(len(content.views))), 16, 16)
        assert torch.isfinite(again.world_to_camera).all() and torch.isfinite(again.intrinsics).all()
    except RejectedError as refused:
        return None, [str(refused)]
    cameras = {
        view.image.name: (
            view.world_to_camera.numpy(),
            np.array([view.lens.fx, view.lens.fy, view.lens.cx, view.lens.cy, *view.lens.distortion]),
        )
        for view in content.views
    }
    return cameras, list(content.dropped)


def assert_equal(found, wanted, names):
    assert found is not None and set(found) == set(names)
    for name in names:
        for ours, theirs in zip(found[name], wanted[name], strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-6, rtol=0)


@contextmanager
def files_in(folder, files: Files) -> Iterator[None]:
    write_files(folder, files)
    try:
        yield
    finally:
        for name in files:
            (folder / name).unlink()


def usual(folder, form: Format):
    with files_in(folder, form.write(views(), Style(random.Random(0)))):
        cameras, sentences = read(folder, form)
    assert cameras is not None and sentences == []
    return cameras


@pytest.mark.parametrize("count", [SHORT, pytest.param(LONG, marks=pytest.mark.long)])
def test_other_ways_of_writing_mean_the_same(tmp_path, form, count):
    wanted = usual(tmp_path, form)
    for i, view in enumerate(views()):  # the reader against the numbers that were written
        pose, lens = wanted[form.picture(i).rpartition("/")[2]]
        np.testing.assert_allclose(pose, np.linalg.inv(view.pose), atol=1e-6)
        if LENS in form.has:
            np.testing.assert_allclose(lens[:4], [view.fx, view.fy, view.cx, view.cy], atol=1e-6)
    for seed in range(count):
        with files_in(tmp_path, form.write(views(), Style(random.Random(seed), plain=False))):
            cameras, sentences = read(tmp_path, form)
        assert sentences == [], f"seed {seed}"
        assert_equal(cameras, wanted, wanted)


def breaks(form: Format) -> list[Callable[[random.Random], Broken]]:
    """What can be broken in a format."""
    everyone = set(range(VIEWS))

    def style(rng: random.Random) -> Style:
        return Style(rng)

    def number(rng: random.Random) -> Broken:
        counted = style(rng)
        form.write(views(), counted)
        if form.name == "COLMAP binary":
            bad: object = rng.choice([float("nan"), float("inf"), float("-inf")])
        elif form.name.startswith(("nerf", "Blender")):
            bad = rng.choice(["NaN", "Infinity", "-Infinity", "1e999", '"1.5"', "null", "true", "[1]", "{}"])
        else:
            bad = rng.choice(["nan", "inf", "-Infinity", "1e999", "wide", "1_0", "0x10", "--1", "1,5"])
        return form.write(views(), Style(rng, bad_at=rng.randrange(counted.written), bad=bad)), [], everyone

    def lens(**parts: float) -> Callable[[random.Random], Broken]:
        def made(rng: random.Random) -> Broken:
            if OWN in form.has:
                place = rng.randrange(VIEWS)
                return form.write(changed(views(), place, **parts), style(rng)), [], {place}
            shown = views()
            for i in range(VIEWS):
                shown = changed(shown, i, **parts)
            return form.write(shown, style(rng)), [], everyone

        return made

    def turned(matrix: np.ndarray) -> Callable[[random.Random], Broken]:
        def made(rng: random.Random) -> Broken:
            place = rng.randrange(VIEWS)
            view = views()[place]
            pose = view.pose.copy()
            pose[:3, :3] = matrix @ pose[:3, :3]
            longer = view.quaternion * abs(np.linalg.det(matrix)) * 1.01  # a quaternion has no other way to be wrong
            return form.write(changed(views(), place, pose=pose, quaternion=longer), style(rng)), [], {place}

        return made

    def picture_gone(rng: random.Random) -> Broken:
        place = rng.randrange(VIEWS)
        return form.write(views(), style(rng)), [place], {place}

    def view_gone(rng: random.Random) -> Broken:
        place = rng.randrange(VIEWS)
        return form.write([view for view in views() if view.number != place], style(rng)), [], {place}

    def twice(rng: random.Random) -> Broken:
        shown = views()
        return form.write([*shown, rng.choice(shown)], style(rng)), [], set()

    def cut(rng: random.Random) -> Broken:
        files = form.write(views(), style(rng))
        name = rng.choice(sorted(files))
        content = files[name]
        # A text shows no cut behind its last number, nor one that leaves some of its digits.
        least = len(content.rstrip()) if form.name.startswith(("nerf", "Blender")) else len(content)
        end = rng.randrange(least)
        if form.name in ("RealEstate10K", "ScanNet", "7-Scenes"):
            lines = content.rstrip().splitlines()
            end = content.rstrip().rindex(lines[-1]) + lines[-1].strip().index(b" ")
        if name.endswith("cameras.txt"):  # a whole line without the number of its last parameter
            end = min(end, content.rstrip().rindex(b" "))
        if name.endswith("images.txt"):  # behind the last name there are only points, which nobody reads
            end = min(end, content.index(b"5.png") if b"5.png" in content else end)
        return {**files, name: content[:end]}, [], everyone

    made = [number, picture_gone, view_gone, cut]
    made += [turned(m) for m in (np.diag([1.0, 1, 0]), np.eye(3) * 1.01, np.diag([1.0, 1, -1]), np.zeros((3, 3)))]
    made.append(turned(np.array([[1, 2e-3, 0], [0, 1, 0], [0, 0, 1.0]])))
    if LENS in form.has:
        made += [lens(fx=f, fy=31.0) for f in (0.0, -30.0, 0.04 * WIDTH, 51.0 * WIDTH)]
        made.append(lens(cx=40.0 * WIDTH))
    if SIZE in form.has:
        made += [lens(width=w, height=h) for w, h in ((0, 0), (-WIDTH, -HEIGHT), (WIDTH, 0), (WIDTH, 2 * HEIGHT))]
    if LIST in form.has:
        made.append(twice)
    return made


@pytest.mark.parametrize("count", [SHORT, pytest.param(LONG, marks=pytest.mark.long)])
def test_what_is_broken_costs_one_sentence(tmp_path, form, count):
    wanted = usual(tmp_path, form)
    made = breaks(form)
    for seed in range(count):
        rng = random.Random(seed)
        files, gone, cost = made[seed % len(made)](rng)
        kept = {i: (tmp_path / form.picture(i)).read_bytes() for i in gone}
        for i in gone:
            (tmp_path / form.picture(i)).unlink()
        with files_in(tmp_path, files):
            cameras, sentences = read(tmp_path, form)
        for i, content in kept.items():
            (tmp_path / form.picture(i)).write_bytes(content)
        where = f"seed {seed} ({made[seed % len(made)].__qualname__}): {sentences}"
        assert sentences and all(s and "\n" not in s and len(s) < 700 for s in sentences), where
        if "cut" not in where.partition(")")[0]:
            # One reason; what a file says of all of its views costs each of them.
            assert len({sentence.partition(": ")[2] for sentence in sentences}) == 1, where
            assert len(sentences) == 1 or form.name == "Blender", where
        if cameras is not None:  # the other views as they were
            lost = {name for name in wanted if name not in cameras}
            assert lost <= {form.picture(i).rpartition("/")[2] for i in cost}, where
            assert_equal(cameras, wanted, cameras)


@pytest.mark.parametrize("count", [SHORT, pytest.param(LONG, marks=pytest.mark.long)])
def test_random_bytes_end_in_cameras_or_a_sentence(tmp_path, form, count):
    """Whatever stands in the files: cameras that a lens can have, or a sentence; no other exception."""
    for seed in range(count):
        rng = random.Random(seed)
        files = form.write(views(), Style(rng))
        name = rng.choice(sorted(files))
        content = bytearray(files[name])
        for _ in range(rng.choice([1, 1, 2, 5, 30])):
            place = rng.randrange(len(content))
            change = rng.randrange(4)
            if change == 0:
                content[place] = rng.randrange(256)
            elif change == 1:
                content[place] ^= 1 << rng.randrange(8)
            elif change == 2:
                content[place:place] = rng.randbytes(rng.choice([1, 8]))
            else:
                del content[place : place + rng.choice([1, 9])]
        with files_in(tmp_path, {**files, name: bytes(content)}):
            cameras, sentences = read(tmp_path, form)
        assert all(s and "\n" not in s and s.isprintable() for s in sentences), f"seed {seed}: {sentences}"
        for pose, lens in (cameras or {}).values():
            np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-9)
            assert 0.05 <= lens[0] / WIDTH <= 50 or form.name == "7-Scenes"
        assert cameras is not None or len(sentences) == 1

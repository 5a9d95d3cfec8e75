"""The same pictures twice in a source: one clip. Other pictures, however they are called: clips of their own."""

from __future__ import annotations

from pathlib import Path

import pytest
from clip_makers import moving

from vist3a.data.sources import scan
from vist3a.export.video import save_image

HEIGHT, WIDTH = 96, 128


def write(folder: Path, seed: int, factor: int = 1, name: str = "{:04d}.png", views: int = 3) -> None:
    """Pictures of the clip ``seed``, made smaller by ``factor``."""
    import torch.nn.functional as F

    for i, frame in enumerate(moving(seed, views=views, height=HEIGHT, width=WIDTH)):
        smaller = F.interpolate(frame[None], (HEIGHT // factor, WIDTH // factor), mode="area")[0]
        save_image(folder / name.format(i), smaller)


def found(folder: Path) -> list[str]:
    return [source.location for source in scan(folder)]


@pytest.mark.parametrize(
    ("full", "copy", "factor"),
    [
        ("images", "images_2", 2),
        ("images", "images_4_png", 4),
        ("images", "images_64x48", 2),
        ("rgb", "rgb_2x", 2),
        ("rgb", "rgb_half", 2),
        ("walk", "walk-4", 4),
        ("images_2", "images_8", 4),
        ("images_2", "images_2_png", 1),
        ("photos", "photos_png", 1),
    ],
)
def test_copies_are_left_out(tmp_path, full, copy, factor):
    write(tmp_path / "fern" / full, 1)
    write(tmp_path / "fern" / copy, 1, factor)
    write(tmp_path / "flower", 2)
    assert found(tmp_path) == [f"fern/{full}", "flower"]


def test_copies_with_names_of_their_own(tmp_path):
    """LLFF: IMG_4026.JPG and image000.png."""
    write(tmp_path / "images", 1, name="IMG_40{:02d}.jpg")
    for factor in (4, 8):
        write(tmp_path / f"images_{factor}", 1, factor, "image{:03d}.png")
    assert found(tmp_path) == ["images"]


@pytest.mark.parametrize(
    ("first", "second"), [("walk", "walk_2"), ("images_1", "images_2"), ("scene_1", "scene_2"), ("a", "b")]
)
@pytest.mark.parametrize("factor", [1, 2])
def test_other_pictures_are_clips_of_their_own(tmp_path, first, second, factor):
    write(tmp_path / first, 1)
    write(tmp_path / second, 2, factor)
    assert found(tmp_path) == [first, second]


def test_more_or_broken_pictures_are_no_copy(tmp_path):
    write(tmp_path / "images", 1)
    write(tmp_path / "images_2", 1, 2, "x{:03d}.png", views=4)
    write(tmp_path / "images_4", 1, 4)
    (tmp_path / "images_4" / "0000.png").write_bytes(b"")
    assert found(tmp_path) == ["images", "images_2", "images_4"]

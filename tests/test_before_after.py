"""README's first picture: which prompts it shows, and what is drawn where."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.append(str(REPOSITORY / "docs"))
import before_after  # noqa: E402  isort: skip

VIEWS = 5


@pytest.mark.parametrize("count", [1, 4, 7, 24])
def test_prompts_of_median_gain(count: int) -> None:
    gains = np.random.default_rng(count).normal(size=count)
    chosen = before_after.nearest_to_median(gains.tolist(), 3)
    assert chosen == sorted(set(chosen)) and len(chosen) == min(3, count)
    distances = np.abs(gains - np.median(gains))
    others = np.delete(distances, chosen)
    assert others.size == 0 or distances[chosen].max() <= others.min()


def test_equally_near_ones_are_taken_in_their_order() -> None:
    assert before_after.nearest_to_median([2.0, 1.0, 3.0, 1.0, 3.0], 2) == [0, 1]


@pytest.fixture
def rows() -> list[before_after.Row]:
    """Every film has a color of its own, which grows brighter from frame to frame."""
    colors = torch.linspace(0.1, 0.6, 2 * 4 * 3).view(2, 4, 1, 3, 1, 1)
    films = (colors + torch.arange(VIEWS).view(1, 1, VIEWS, 1, 1, 1) * 0.08).expand(-1, -1, -1, -1, 8, 8)
    prompts = ("a red box", "a sentence that is far longer than the picture is wide, " * 4)
    return [before_after.Row(prompt, tuple(four), (20.0, 24.96)) for prompt, four in zip(prompts, films, strict=True)]


def colors_of(sheet: Image.Image, frames: int) -> np.ndarray:
    """Colors in the middle of the pictures, ``[row, column, frame, 3]``."""
    side, gap, line = before_after.SIDE, before_after.GAP, before_after.LINE
    pixels = np.asarray(sheet.convert("RGB")).astype(int)
    found = np.zeros((2, 4, frames, 3), int)
    for row in range(2):
        for column in range(4):
            for place in range(frames):
                left = gap + (column * frames + place) * (side + gap) + (before_after.BETWEEN if column > 1 else 0)
                top = line + gap + row * (side + 2 * line + 2 * gap)
                found[row, column, place] = pixels[top + side // 2, left + side // 2]
    return found


def wanted(rows: list[before_after.Row], frames: list[int]) -> np.ndarray:
    films = torch.stack([torch.stack(row.films) for row in rows])[:, :, frames, :, 0, 0]
    return (films * 255).round().int().numpy()


def test_still_picture(rows: list[before_after.Row], tmp_path: Path) -> None:
    before_after.save_still(tmp_path / "still.png", rows)
    with Image.open(tmp_path / "still.png") as sheet:
        assert (colors_of(sheet, 3) == wanted(rows, [0, 2, 4])).all()
        # The long prompt is written small enough: nothing touches the border.
        border = np.asarray(sheet.convert("RGB"))[:, -2:]
    assert (border == 255).all()


def test_animation_runs_there_and_back(rows: list[before_after.Row], tmp_path: Path) -> None:
    before_after.save_animation(tmp_path / "film.webp", rows)
    with Image.open(tmp_path / "film.webp") as film:
        assert film.n_frames == 8 and film.info["loop"] == 0
        for page, frame in enumerate([0, 1, 2, 3, 4, 3, 2, 1]):
            film.seek(page)
            assert np.abs(colors_of(film, 1) - wanted(rows, [frame])).max() <= 6


def test_what_is_said_below_a_row(rows: list[before_after.Row]) -> None:
    """Other decibels change the text under the one column, and nothing else."""
    better = [before_after.Row(row.prompt, row.films, (row.decibels[0], 99.9)) for row in rows]
    first, second = (np.asarray(before_after.page(some, [0])).astype(int) for some in (rows, better))
    changed = np.argwhere((first != second).any(-1))
    top = before_after.LINE + before_after.GAP + before_after.SIDE
    after = before_after.GAP + 2 * (before_after.SIDE + before_after.GAP) + before_after.BETWEEN
    assert changed[:, 0].min() >= top and changed[:, 1].min() >= after
    below = changed[changed[:, 0] < top + before_after.LINE + before_after.GAP]
    assert len(below) and len(below) == len(changed) / 2

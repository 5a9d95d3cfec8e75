"""Pictures to start from: cropped to the aspect, resized, by name; what is missing or broken is said."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from vist3a.data.first_frames import read_first_frames


def save(path: Path, size: tuple[int, int], colour: tuple[int, int, int]) -> None:
    Image.new("RGB", size, colour).save(path)


def test_an_image_is_cropped_and_resized(tmp_path: Path) -> None:
    picture = Image.new("RGB", (60, 30), (255, 0, 0))
    picture.paste((0, 0, 255), (15, 0, 45, 30))  # the middle square
    picture.save(tmp_path / "room.png")
    found = read_first_frames(tmp_path / "room.png", 16, 16)
    assert list(found) == ["room"]
    assert found["room"].shape == (3, 16, 16)
    torch.testing.assert_close(found["room"], torch.tensor([0.0, 0.0, 1.0]).view(3, 1, 1).expand(3, 16, 16))


def test_a_folder_gives_all_of_its_images(tmp_path: Path) -> None:
    for name in ("b2", "b10", "a"):
        save(tmp_path / f"{name}.jpg", (20, 20), (10, 20, 30))
    (tmp_path / "notes.txt").write_text("no picture")
    assert list(read_first_frames(tmp_path, 8, 8)) == ["a", "b2", "b10"]


def test_bad_input_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"generate\.image: .*/none\.png does not exist"):
        read_first_frames(tmp_path / "none.png", 8, 8)
    with pytest.raises(ValueError, match="holds no image"):
        read_first_frames(tmp_path, 8, 8)
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    with pytest.raises(ValueError, match=r"generate\.image: image broken\.png cannot be read"):
        read_first_frames(tmp_path / "broken.png", 8, 8)

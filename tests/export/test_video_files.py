"""Videos as a player reads them: rates, quality, borders, and encoders that know no constant quality."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from vist3a.export.video import CODECS, image_sheet, save_image, save_video, to_bytes

needs_x264 = pytest.mark.skipif("libx264" not in av.codecs_available, reason="this build of FFmpeg has no x264")


def noise(frames: int, height: int, width: int) -> torch.Tensor:
    """Blurred, so that encoders can choose how much of it they keep."""
    small = torch.rand(frames, 3, height // 4, width // 4, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(small, size=(height, width), mode="bilinear")


def read(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@pytest.mark.parametrize(
    ("fps", "rate"),
    [(30000 / 1001, Fraction(30000, 1001)), (16.0, Fraction(16)), (10 + 1 / 1002, Fraction(10011, 1001))],
)
def test_rates_are_fractions_of_at_most_1001(fps: float, rate: Fraction, tmp_path: Path) -> None:
    save_video(tmp_path / "clip.mp4", noise(3, 32, 48), fps=fps)
    with av.open(str(tmp_path / "clip.mp4")) as container:
        assert container.streams.video[0].average_rate == rate


@needs_x264
def test_quality_is_what_was_asked_for_and_high_by_default(tmp_path: Path) -> None:
    size = {}
    for crf in (0, 14, 15, 40):
        save_video(tmp_path / "clip.mp4", noise(8, 64, 96), crf=crf)
        size[crf] = (tmp_path / "clip.mp4").stat().st_size
    assert size[0] > 1.2 * size[14] and size[14] > size[15] > 3 * size[40]
    save_video(tmp_path / "clip.mp4", noise(8, 64, 96))
    assert (tmp_path / "clip.mp4").stat().st_size == size[14]
    with av.open(str(tmp_path / "clip.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "h264"


@pytest.mark.parametrize(("height", "width"), [(64, 192), (160, 48)])
def test_other_encoders_have_a_generous_rate(
    height: int, width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vist3a.export.video.CODECS", ("no such encoder", "mpeg4"))
    save_video(tmp_path / "clip.mp4", noise(32, height, width))
    with av.open(str(tmp_path / "clip.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "mpeg4"
        # Four bytes a pixel and second.
        assert stream.bit_rate == pytest.approx(32 * height * width, rel=0.15)
    assert CODECS[-1] == "mpeg4"


@pytest.mark.parametrize(("height", "width"), [(33, 48), (32, 47), (33, 47)])
def test_odd_sizes_repeat_their_last_row_or_column(height: int, width: int, tmp_path: Path) -> None:
    frames = torch.full((2, 3, height, width), 0.2)
    frames[:, :, -1], frames[:, :, :, -1] = 0.8, 0.8
    save_video(tmp_path / "clip.mp4", frames, crf=0)
    found = read(tmp_path / "clip.mp4").astype(int)
    assert found.shape == (2, height + height % 2, width + width % 2, 3)
    if height % 2:
        assert (np.abs(found[:, -1] - 204) < 8).all() and (np.abs(found[:, -2] - 204) < 8).all()
    if width % 2:
        assert (np.abs(found[:, :, -1] - 204) < 8).all() and (np.abs(found[:, :, -2] - 204) < 8).all()
    assert (np.abs(found[:, : height - 2, : width - 2] - 51) < 8).all()


def test_the_kind_of_a_file_is_not_that_of_its_name(tmp_path: Path) -> None:
    save_video(tmp_path / "clip.bin", noise(2, 32, 48))
    with av.open(str(tmp_path / "clip.bin")) as container:
        assert "mp4" in container.format.name
    save_image(tmp_path / "picture.bin", torch.zeros(3, 4, 5))
    assert (tmp_path / "picture.bin").read_bytes()[1:4] == b"PNG"


def test_bytes_are_rounded_and_what_cannot_be_shown_is_clipped() -> None:
    values = torch.tensor([0.0, 0.00195, 0.00197, 0.499, 0.998, 1.0, 1.7, -0.3, torch.nan, torch.inf])
    frames = values[None, None, None].expand(1, 3, 2, 10).clone()
    frames[:, 1] = 0.0
    found = to_bytes(frames.double())
    assert found.shape == (1, 2, 10, 3) and found.dtype == np.uint8 and found.flags["C_CONTIGUOUS"]
    assert found[0, 1, :, 0].tolist() == found[0, 0, :, 2].tolist() == [0, 0, 1, 127, 254, 255, 255, 0, 0, 255]
    assert (found[..., 1] == 0).all()


@pytest.mark.parametrize(("count", "columns"), [(6, 3), (7, 3), (2, 4), (1, 1)])
def test_sheets_are_filled_row_by_row_two_pixels_apart(count: int, columns: int) -> None:
    images = torch.rand(count, 3, 6, 8, generator=torch.Generator().manual_seed(1)).double() / 2
    # A row is 6 + 2 high, a column 8 + 2 wide, the last ones without a gap.
    rows = -(-count // columns)
    wanted = np.ones((3, 8 * rows - 2, 10 * columns - 2))
    for i, image in enumerate(images.numpy()):
        row, column = divmod(i, columns)
        wanted[:, 8 * row : 8 * row + 6, 10 * column : 10 * column + 8] = image
    np.testing.assert_array_equal(image_sheet(images, columns), wanted)
    for wrong in (images[:0], images):
        with pytest.raises(ValueError, match="an image sheet needs images and columns, not"):
            image_sheet(wrong, columns if not len(wrong) else 0)

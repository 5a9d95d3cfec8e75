"""Video, images, sheets and depth maps."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from vist3a.export.depth import load_depth_npz, load_depth_png, save_depth_npz, save_depth_png
from vist3a.export.video import image_sheet, save_image, save_video
from vist3a.runtime.atomic import replacing


def smooth_frames(count: int, height: int, width: int) -> torch.Tensor:
    """A colour gradient whose brightness changes from frame to frame."""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    frame = torch.stack([x, y, 0.5 * (x + y)])
    return torch.stack([(0.3 + 0.6 * i / count) * frame for i in range(count)])


@pytest.mark.parametrize(("height", "width"), [(48, 64), (45, 63)])
def test_video_comes_back_nearly_the_same(tmp_path: Path, height: int, width: int) -> None:
    frames = smooth_frames(7, height, width)
    save_video(tmp_path / "clip.mp4", frames, fps=12.0)
    with av.open(str(tmp_path / "clip.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == 12 and stream.codec_context.pix_fmt == "yuv420p"
        read = np.stack([f.to_ndarray(format="rgb24") for f in container.decode(stream)])
    assert read.shape == (7, height + height % 2, width + width % 2, 3)
    read_frames = torch.from_numpy(read[:, :height, :width]).permute(0, 3, 1, 2) / 255
    assert (read_frames - frames).abs().mean() < 0.02
    assert [p.name for p in tmp_path.iterdir()] == ["clip.mp4"]


def test_video_without_frames_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        save_video(tmp_path / "clip.mp4", torch.zeros(0, 3, 8, 8))
    assert not list(tmp_path.iterdir())


def test_image_comes_back_and_is_clipped(tmp_path: Path) -> None:
    image = torch.rand(3, 5, 7)
    image[0, 0, :3] = torch.tensor([-1.0, 2.0, torch.nan])
    save_image(tmp_path / "image.png", image)
    read = torch.from_numpy(np.array(Image.open(tmp_path / "image.png"))).permute(2, 0, 1) / 255
    assert read[0, 0, :3].tolist() == [0, 1, 0]
    torch.testing.assert_close(read[1:], image[1:], atol=0.5 / 255 + 1e-6, rtol=0)


def test_sheet_places_images_row_by_row() -> None:
    images = torch.arange(5.0)[:, None, None, None].expand(5, 3, 4, 6) / 10
    sheet = image_sheet(images, columns=3, gap=1)
    assert sheet.shape == (3, 9, 20)
    assert (sheet[:, 0:4, 14:20] == 0.2).all() and (sheet[:, 5:9, 7:13] == 0.4).all()
    assert (sheet[:, 4] == 1).all() and (sheet[:, 5:, 14:] == 1).all()
    with pytest.raises(ValueError, match="image sheet"):
        image_sheet(images, columns=0)


def test_depth_png_comes_back_within_half_a_level(tmp_path: Path) -> None:
    depth = 0.01 + 7 * torch.rand(9, 11)
    depth[0, :4] = torch.tensor([torch.nan, 0.0, -1.0, torch.inf])
    depth[1, 0] = 1e-7
    scale = save_depth_png(tmp_path / "depth.png", depth)
    assert json.loads((tmp_path / "depth.json").read_text()) == {"scale": scale, "unknown": 0}
    with Image.open(tmp_path / "depth.png") as image:
        assert image.mode.startswith("I;16")
    read = load_depth_png(tmp_path / "depth.png")
    assert torch.isnan(read[0, :4]).all() and read[1, 0] == np.float32(scale)
    known = torch.isfinite(read)
    assert known.sum() == 95
    assert (read - depth)[known].abs().max() <= 1.001 * scale
    assert sorted(p.name for p in tmp_path.iterdir()) == ["depth.json", "depth.png"]
    save_depth_png(tmp_path / "empty.png", torch.zeros(3, 3))
    assert torch.isnan(load_depth_png(tmp_path / "empty.png")).all()
    (tmp_path / "depth.json").write_text('{"scale": -1}')
    with pytest.raises(ValueError, match="positive number, not -1"):
        load_depth_png(tmp_path / "depth.png")


def test_depth_npz_is_exact(tmp_path: Path) -> None:
    depth, confidence = torch.rand(2, 3, 4, 5), torch.rand(2, 3, 4, 5)
    save_depth_npz(tmp_path / "depth.npz", depth, confidence)
    read, trust = load_depth_npz(tmp_path / "depth.npz")
    assert trust is not None and torch.equal(read, depth) and torch.equal(trust, confidence)
    save_depth_npz(tmp_path / "depth.npz", depth)
    assert load_depth_npz(tmp_path / "depth.npz")[1] is None
    np.savez(tmp_path / "other.npz", foo=np.zeros(3))
    with pytest.raises(ValueError, match="no array 'depth', only foo"):
        load_depth_npz(tmp_path / "other.npz")


def test_a_failed_write_leaves_the_old_file_and_no_trace(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="disk full"), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError("disk full")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]

import hashlib

import pandas as pd
import pytest
import torch

from vist3a.data.clip_store import COLUMNS, ClipStore, write_clip
from vist3a.records.cameras import Cameras
from vist3a.records.clip import Clip


@pytest.fixture
def clip() -> Clip:
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (5, 3, 8, 12), generator=generator).float() / 255
    cameras = Cameras(torch.eye(4).repeat(5, 1, 1), torch.eye(3).repeat(5, 1, 1) * 2)
    return Clip("one", frames, "a réd cube", cameras, torch.rand(5, 8, 12, generator=generator))


def store(folder, path) -> ClipStore:
    row = dict.fromkeys(COLUMNS, 0)
    row |= {"name": "one", "split": "fit", "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    return ClipStore(folder, pd.DataFrame([row]))


def test_a_clip_comes_back_as_it_was(tmp_path, clip):
    clips = store(tmp_path, write_clip(tmp_path, clip))
    assert (clips.names("fit"), clips.names("heldout")) == (["one"], [])
    (back,) = clips.load_split("fit")
    assert (back.name, back.caption) == (clip.name, clip.caption)
    assert torch.equal(back.frames, clip.frames)
    assert torch.equal(back.depth, clip.depth)
    assert torch.equal(back.cameras.world_to_camera, clip.cameras.world_to_camera)
    assert torch.equal(back.cameras.intrinsics, clip.cameras.intrinsics)


def test_a_real_clip_has_neither_depth_nor_cameras(tmp_path, clip):
    back = store(tmp_path, write_clip(tmp_path, Clip("one", clip.frames))).load("one")
    assert back.depth is None and back.cameras is None and back.caption == ""


def test_the_same_clip_gives_the_same_bytes(tmp_path, clip):
    written = {write_clip(tmp_path / str(i), clip).read_bytes() for i in range(4)}
    assert len(written) == 1


def test_corruption_is_one_sentence(tmp_path, clip):
    path = write_clip(tmp_path, clip)
    clips = store(tmp_path, path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match=r"one\.safetensors has sha256 .* the index says .* run the curate pipeline"):
        clips.load("one")
    path.unlink()
    with pytest.raises(ValueError, match=r"one\.safetensors is missing"):
        clips.load("one")


def test_unknown_names_splits_and_columns_are_refused(tmp_path, clip):
    clips = store(tmp_path, write_clip(tmp_path, clip))
    with pytest.raises(ValueError, match="'two' is listed 0 times"):
        clips.load("two")
    with pytest.raises(ValueError, match="allowed are fit, selection, heldout"):
        clips.names("test")
    with pytest.raises(ValueError, match="no column sha256"):
        ClipStore(tmp_path, clips.index.drop(columns="sha256"))


@pytest.mark.parametrize("name", ["../x", "", "a/b", ".x", "x" * 200])
def test_names_that_leave_the_folder_are_refused(tmp_path, clip, name):
    with pytest.raises(ValueError, match="clip name"):
        write_clip(tmp_path, Clip(name, clip.frames))

"""No file of a source vanishes: pictures and videos by any ending are read, texts are left alone, the rest is named."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from clip_makers import moving, save_moving
from picture_kinds import bytes_of, colours, saved
from video_kinds import clip, encode

from vist3a.data.checks import Limits
from vist3a.data.curation import gather_folder
from vist3a.data.rejected import RejectedError
from vist3a.data.sources import scan
from vist3a.data.unread import Unread
from vist3a.data.video import VideoFile
from vist3a.data.video_container import video_endings
from vist3a.export.video import save_image
from vist3a.records.clip_shape import ClipShape


def test_endings_of_common_containers_are_known() -> None:
    common = "mp4 mov m4v mkv webm avi mpg mpeg ts wmv gif mxf mts flv 3gp ogv m2ts vob asf f4v mjpg h264 h265 y4m apng"
    assert {f".{ending}" for ending in common.split()} <= video_endings()
    assert not video_endings() & {".txt", ".srt", ".png", ".jpg", ".avif", ".webp", ".mp3", ".wav", ".json", ".m3u8"}


@pytest.mark.parametrize(
    "name", ["a.mxf", "a.MTS", "a.flv", "a.3gp", "a.ogv", "a.m2ts", "a.divx", "a.insv", "a", "a.unknown"]
)
def test_videos_are_found_by_ending_or_content(tmp_path: Path, name: str) -> None:
    encode(tmp_path / "b.mp4", clip(0)).rename(tmp_path / name)
    (source,) = scan(tmp_path)
    assert (source.location, len(list(source.reader.frames()))) == (name, 6)


def test_files_that_cannot_be_read_are_named_once_for_each_ending(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    save_moving(tmp_path / "in" / "good.mp4", 1)
    for name in (
        "good.raw9",
        "zz.raw9",
        "sub/c.raw9",
        "photo",
        "notes.txt",
        "table.csv",
        "a.json",
        "drawing.svg",
        "x.CR2",
    ):
        (tmp_path / "in" / name).parent.mkdir(exist_ok=True)
        text = name.endswith((".txt", ".csv", ".json", ".svg"))
        (tmp_path / "in" / name).write_bytes(b"words; 1 2 3\n" if text else rng.bytes(2000))
    (tmp_path / "in" / "windows.txt").write_bytes("Fenster".encode("utf-16"))
    gathered = gather_folder(tmp_path / "in", tmp_path, ClipShape(frames=5, height=64, width=64), Limits())
    assert [row["name"] for row in gathered.rows] == ["good"]
    reasons = dict(gathered.rejected)
    assert set(reasons) == {"good.raw9", "sub/c.raw9", "photo", "drawing.svg", "x.CR2"}
    assert reasons["good.raw9"] == (
        'good.raw9: a file with the ending ".raw9" is no picture and no video that can be read (nor 1 more here);'
        " Pillow and FFmpeg read most others"
    )
    assert "a file without an ending" in reasons["photo"]


def test_a_folder_of_nothing_but_unknown_files_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.cr2").write_bytes(bytes(range(256)))
    (tmp_path / "notes.txt").write_text("words")
    with pytest.raises(
        ValueError, match=r'found no video and no image \(but a\.cr2: a file with the ending "\.cr2"'
    ) as error:
        scan(tmp_path)
    assert "\n" not in str(error.value)


def test_pictures_under_other_names_are_named(tmp_path: Path) -> None:
    for name in ("a.txt", "b.mp5", "c"):
        saved(tmp_path / "x.png", bytes_of(colours(0))).rename(tmp_path / name)
    save_moving(tmp_path / "good.mp4", 1)
    sources = scan(tmp_path)
    assert {s.location: type(s.reader) for s in sources} == {
        "a.txt": Unread, "b.mp5": Unread, "c": Unread, "good.mp4": VideoFile,
    }  # fmt: skip
    with pytest.raises(RejectedError, match=r'ending "\.mp5" is no picture'):
        next(iter(sources[1].reader.frames()))


@pytest.mark.skipif(os.name == "nt", reason="links and pipes")
def test_links_to_nothing_and_pipes_are_named(tmp_path: Path) -> None:
    save_moving(tmp_path / "good.mp4", 1)
    (tmp_path / "gone.png").symlink_to("nowhere.png")
    (tmp_path / "lost.mkv").symlink_to("nowhere.mkv")
    os.mkfifo(tmp_path / "pipe.mp4")
    os.mkfifo(tmp_path / "pipe")
    assert {s.location for s in scan(tmp_path) if isinstance(s.reader, Unread)} == {
        "gone.png",
        "lost.mkv",
        "pipe.mp4",
        "pipe",
    }


def test_a_hubs_cache_is_read_by_its_links(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    room = tmp_path / "snapshots" / "abc" / "room"
    room.mkdir(parents=True)
    for i, view in enumerate(moving(2, views=6)):
        save_image(tmp_path / "x.png", view)
        (tmp_path / "x.png").rename(tmp_path / "blobs" / f"{i:040d}")
        (room / f"{i}.png").symlink_to(f"../../../blobs/{i:040d}")
    (source,) = scan(tmp_path)
    assert (source.location, len(list(source.reader.frames()))) == ("snapshots/abc/room", 6)


def test_one_bad_scene_does_not_end_the_run(tmp_path: Path) -> None:
    source = tmp_path / "in"
    save_moving(source / "good.mp4", 1)
    for i, view in enumerate(moving(2, views=6)):
        save_image(source / "room" / f"{i}.png", view)
    saved(source / "room" / "3.png", np.arange(64, dtype=np.float32).reshape(8, 8), format="TIFF")
    (source / "broken.mkv").write_bytes(b"\x1a\x45\xdf\xa3" + bytes(500))
    gathered = gather_folder(source, tmp_path, ClipShape(frames=5, height=64, width=64), Limits())
    assert [row["name"] for row in gathered.rows] == ["good"]
    assert [place for place, _ in gathered.rejected] == ["broken.mkv", "room"]

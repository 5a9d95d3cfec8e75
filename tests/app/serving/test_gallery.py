"""Scenes on disk: listed, read, deleted; and nothing else of the disk."""

from __future__ import annotations

from pathlib import Path

import pytest
from served import written

from vist3a_app.serving.gallery import Gallery
from vist3a_app.serving.service import MissingError


def test_scenes_are_listed_the_newest_first(tmp_path: Path) -> None:
    written(tmp_path, "b", age=1, seed=3)
    written(tmp_path, "a")
    written(tmp_path, "c", age=1)
    (tmp_path / "file").touch()
    (tmp_path / "unfinished").mkdir()
    assert [scene["name"] for scene in Gallery(tmp_path).scenes()] == ["a", "b", "c"]
    assert Gallery(tmp_path).scenes()[1] == {"name": "b", "prompt": "b", "facts": {"seed": 3}, "viewer": True}


@pytest.mark.parametrize("text", ["{", "[]", "3", '{"seed": 3}'])
def test_what_is_no_scene_is_left_out(text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    written(tmp_path, "a")
    written(tmp_path, "b")
    (tmp_path / "b" / "prompt.json").write_text(text)
    assert [scene["name"] for scene in Gallery(tmp_path).scenes()] == ["a"]
    assert "b is no scene" in caplog.text


def test_a_scene_has_its_files(tmp_path: Path) -> None:
    folder = written(tmp_path, "a")
    (folder / ".x.1-1.part").mkdir()
    (folder / ".x.1-1.part" / "x").touch()
    (folder / "viewer.html").unlink()
    scene = Gallery(tmp_path).scene("a")
    assert list(scene["files"]) == ["prompt.json", "images/0000.png"] and scene["files"]["images/0000.png"] == 7
    assert scene["viewer"] is False
    assert Gallery(tmp_path).file("a", "images/0000.png").read_bytes() == b"picture"


@pytest.mark.parametrize("name", ["..", ".", "", ".hidden", "other", "a/../a", "../a", "a/images"])
def test_no_name_leads_out_of_the_folder(name: str, tmp_path: Path) -> None:
    root = tmp_path / "scenes"
    written(root, "a")
    written(tmp_path, "a")
    written(root, ".hidden")
    (tmp_path / "prompt.json").write_text('{"prompt": "x"}')
    (root / "prompt.json").write_text('{"prompt": "x"}')
    gallery = Gallery(root)
    for refused in (gallery.scene, gallery.files, gallery.delete, lambda name: gallery.file(name, "viewer.html")):
        with pytest.raises(MissingError, match="there is no scene"):
            refused(name)
    assert (root / "a" / "viewer.html").is_file() and (tmp_path / "a" / "viewer.html").is_file()


@pytest.mark.parametrize(
    "path", ["../b/viewer.html", "/etc/passwd", "images", "", ".", "link", "images/../viewer.html"]
)
def test_no_path_leads_out_of_the_scene(path: str, tmp_path: Path) -> None:
    written(tmp_path, "b")
    (written(tmp_path, "a") / "link").symlink_to(tmp_path / "b" / "viewer.html")
    with pytest.raises(MissingError, match="scene a has no file"):
        Gallery(tmp_path).file("a", path)


def test_deleted_is_deleted(tmp_path: Path) -> None:
    written(tmp_path, "a")
    written(tmp_path, "b")
    Gallery(tmp_path).delete("a")
    assert [path.name for path in tmp_path.iterdir()] == ["b"]
    with pytest.raises(MissingError):
        Gallery(tmp_path).delete("a")


def test_what_a_killed_server_left_goes(tmp_path: Path) -> None:
    root = tmp_path / "new" / "scenes"
    Gallery(root).open()
    written(root, "a")
    gone = f".b.{2**22 + 1}.part"  # of no process: above the largest number of one
    written(root, gone)
    Gallery(root).open()
    assert [path.name for path in root.iterdir()] == ["a"]


def test_a_file_is_no_folder_for_scenes(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"--out .*file: .*; allowed: a folder that can be written to"):
        Gallery(tmp_path / "file").open()

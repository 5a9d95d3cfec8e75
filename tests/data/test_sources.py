import pytest
from clip_makers import moving
from hypothesis import given
from hypothesis import strategies as st

from vist3a.data.clip_store import clip_path
from vist3a.data.image_folder import ImageFolder, image_paths
from vist3a.data.rejected import RejectedError
from vist3a.data.sources import safe_name, scan
from vist3a.export.video import save_image


@given(st.text(max_size=300))
def test_names_stay_in_their_folder(tmp_path_factory, location):
    folder = tmp_path_factory.getbasetemp()
    assert clip_path(folder, safe_name(location)).resolve().parent == folder.resolve()


def test_scan_finds_videos_and_image_folders_in_order(tmp_path):
    for place in ("b.mp4", "a/deep/c.MOV", ".hidden/d.mp4", "notes.txt", "._b.mp4"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(b"")
    save_image(tmp_path / "views" / "1.png", moving(0, views=1)[0])
    assert [(s.location, s.name) for s in scan(tmp_path)] == [
        ("a/deep/c.MOV", "a-deep-c"),
        ("b.mp4", "b"),
        ("views", "views"),
    ]


def test_equal_names_become_unique_without_regard_to_the_rest(tmp_path):
    for place in ("x.mp4", "x.mov", "X.webm", "x y.mp4"):
        (tmp_path / place).write_bytes(b"")
    names = {s.location: s.name for s in scan(tmp_path)}
    assert len({name.lower() for name in names.values()}) == 4
    assert names["x y.mp4"] == "x_y"
    (tmp_path / "x.mov").unlink()
    assert {s.location: s.name for s in scan(tmp_path)}["x.mp4"] == names["x.mp4"]


@pytest.mark.parametrize("make", [None, "file", "empty"])
def test_missing_or_empty_source_is_one_sentence(tmp_path, make):
    folder = tmp_path / "source"
    if make == "file":
        folder.write_text("")
    if make == "empty":
        folder.mkdir()
    with pytest.raises(ValueError, match=r"source folder .*found") as error:
        scan(folder)
    assert "\n" not in str(error.value)


def test_captions_are_plain_text_beside_the_frames(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"")
    (tmp_path / "b.mp4").write_bytes(b"")
    (tmp_path / "a.txt").write_text("  a red\n sphere ")
    first, second = scan(tmp_path)
    assert (first.caption(), second.caption()) == ("a red sphere", "")
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RejectedError, match=r"a\.txt is not text in UTF-8"):
        first.caption()


def test_images_come_in_counting_order(tmp_path):
    for i in (10, 9, 1):
        save_image(tmp_path / f"view{i}.png", moving(0, views=1)[0])
    assert [path.stem for path in image_paths(tmp_path)] == ["view1", "view9", "view10"]


def test_broken_and_odd_images_are_named(tmp_path):
    save_image(tmp_path / "1.png", moving(0, views=1)[0])
    save_image(tmp_path / "2.png", moving(0, views=1, height=40)[0])
    with pytest.raises(RejectedError, match=r"2\.png has 128x40 pixels; all must have 128x96"):
        list(ImageFolder(tmp_path).frames())
    (tmp_path / "2.png").write_text("no image")
    with pytest.raises(RejectedError, match=r"2\.png cannot be read"):
        list(ImageFolder(tmp_path).frames())


def test_exif_orientation_is_applied(tmp_path):
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20)).save(tmp_path / "1.jpg", exif=exif)
    assert next(ImageFolder(tmp_path).frames()).shape == (3, 40, 20)


def test_home_is_meant_by_a_tilde(tmp_path, monkeypatch):
    from pathlib import Path

    monkeypatch.setenv("HOME", str(tmp_path))
    save_image(tmp_path / "clips" / "walk" / "1.png", moving(0, views=1)[0])
    assert [source.location for source in scan(Path("~/clips"))] == ["walk"]
    with pytest.raises(ValueError, match="there is no such user"):
        scan(Path("~nobody-of-this-name/clips"))
    # A folder that is really called so comes first.
    monkeypatch.chdir(tmp_path / "clips")
    save_image(tmp_path / "clips" / "~" / "tilde" / "1.png", moving(0, views=1)[0])
    assert [source.location for source in scan(Path("~"))] == ["tilde"]


def test_links_in_a_circle_are_not_followed(tmp_path):
    save_image(tmp_path / "walk" / "1.png", moving(0, views=1)[0])
    (tmp_path / "walk" / "back").symlink_to(tmp_path)
    (tmp_path / "self").symlink_to(tmp_path)
    assert [source.location for source in scan(tmp_path)] == ["walk"]


def test_a_folder_that_cannot_be_read_has_its_sentence():
    import os
    import tempfile
    from pathlib import Path

    user = os.geteuid()
    with tempfile.TemporaryDirectory() as made:
        top = Path(made)
        save_image(top / "walk" / "1.png", moving(0, views=1)[0])
        (top / "closed").mkdir(mode=0)
        top.chmod(0o755)
        try:
            if user == 0:  # root may read everything
                os.seteuid(65534)
            sources = scan(top)
        finally:
            os.seteuid(user)
            (top / "closed").chmod(0o700)
    assert [source.location for source in sources] == ["closed", "walk"]
    with pytest.raises(RejectedError, match=r"the folder cannot be read \(Permission denied\)"):
        list(sources[0].reader.frames())

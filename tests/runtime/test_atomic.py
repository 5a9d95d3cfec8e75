"""What is cut off in the middle, by a kill or by a full disk, leaves the old content, and nothing that stays."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from vist3a.runtime.atomic import DiskFullError, remove_leftovers, replacing, replacing_folder

DRIVER = Path(__file__).with_name("cut_driver.py")
# Alone in a namespace of its own a user may mount a small disk.
NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount")


def cut(folder: Path, how: str, *before: str) -> dict[str, dict[str, Any]]:
    """How each of our ways of writing ended; see the driver."""
    done = subprocess.run(
        [*before, sys.executable, "-W", "ignore", str(DRIVER), str(folder), how],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) >= 12
    return {row["way"]: row for row in rows}


def test_a_kill_in_the_middle_of_a_write_leaves_the_old_content(tmp_path: Path) -> None:
    for way, row in cut(tmp_path, "killed").items():
        assert row["ended"] == "SIGXFSZ", way
        assert row["stands"], f"{way}: half of the new content stands in place of the old"
        # Killed while it was being written, so something is left; the next run removes it.
        assert row["unfinished"] and row["cleaned"], way


def test_a_write_that_does_not_fit_is_one_sentence(tmp_path: Path) -> None:
    for way, row in cut(tmp_path, "limited").items():
        assert row["stands"] and not row["unfinished"], way
        assert row["ended"].startswith(f"DiskFullError: {tmp_path / way}"), row["ended"]
        assert "free" in row["ended"] and "\n" not in row["ended"]


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    if (
        shutil.which("unshare") is None
        or subprocess.run([*NAMESPACE, "true"], check=False, capture_output=True).returncode
    ):
        pytest.skip("this system lets no user mount a disk of their own")
    for way, row in cut(tmp_path, "full", *NAMESPACE).items():
        assert row["stands"] and not row["unfinished"], way
        assert row["ended"].startswith(f"DiskFullError: {tmp_path / way}"), row["ended"]
        assert "no space is left" in row["ended"] or way == "checkpoint", row["ended"]


def killed_within(write: Any) -> None:
    """Call ``write`` in a process that kills itself there."""
    pid = os.fork()
    if pid == 0:
        write()
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL


def test_a_kill_between_the_write_and_the_rename_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text("old")

    def write() -> None:
        with replacing(path) as temporary:
            temporary.write_text("new and whole")
            os.kill(os.getpid(), signal.SIGKILL)

    killed_within(write)
    assert path.read_text() == "old"
    assert len([*tmp_path.iterdir()]) == 2
    remove_leftovers(tmp_path)
    assert [*tmp_path.iterdir()] == [path]


def test_a_kill_while_a_folder_is_filled_leaves_the_old_one(tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    with replacing_folder(folder) as temporary:
        (temporary / "old").touch()

    def write() -> None:
        with replacing_folder(folder) as temporary:
            (temporary / "new").touch()
            os.kill(os.getpid(), signal.SIGKILL)

    killed_within(write)
    assert [path.name for path in folder.iterdir()] == ["old"]
    remove_leftovers(tmp_path)
    assert [*tmp_path.iterdir()] == [folder]
    with replacing_folder(folder) as temporary:
        (temporary / "new").touch()
    assert [path.name for path in folder.iterdir()] == ["new"]
    assert [*tmp_path.iterdir()] == [folder]


def test_a_folder_that_was_being_replaced_comes_back(tmp_path: Path) -> None:
    """As a kill between the two renames leaves it."""
    gone = subprocess.Popen(["true"])
    gone.wait()
    for name in ("lost", "kept"):
        (tmp_path / f".{name}.{gone.pid}.old").mkdir()
        (tmp_path / f".{name}.{gone.pid}.old" / "old").touch()
    (tmp_path / "kept").mkdir()
    remove_leftovers(tmp_path)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == ["kept", "lost", "lost/old"]


def test_what_a_living_process_writes_and_what_is_not_ours_stays(tmp_path: Path) -> None:
    (tmp_path / ".x.partly.old").mkdir()
    (tmp_path / "clip.1.part").mkdir()
    with replacing(tmp_path / "x") as temporary:
        temporary.touch()
        remove_leftovers(tmp_path)
        assert temporary.is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".x.partly.old", "clip.1.part", "x"]


def test_another_failure_stays_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("old")
    with pytest.raises(ValueError, match="nothing to do with the disk"), replacing(path) as temporary:
        temporary.write_text("new")
        raise ValueError("nothing to do with the disk")
    assert [file.read_text() for file in tmp_path.iterdir()] == ["old"]


def test_a_disk_that_cannot_be_asked_hides_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder's disk has gone, as a network share does; the first error is the one to hear of."""

    def gone(_: Path) -> None:
        raise OSError(errno.EIO, "the share does not answer")

    monkeypatch.setattr("vist3a.runtime.atomic.shutil.disk_usage", gone)
    with pytest.raises(ValueError, match="nothing to do with the disk"), replacing(tmp_path / "x"):
        raise ValueError("nothing to do with the disk")
    with (
        pytest.raises(
            DiskFullError, match=r"x cannot be written: no space is left in .*\(how much is free is unknown\)"
        ),
        replacing_folder(tmp_path / "x"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")

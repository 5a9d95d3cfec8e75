"""Parts of a study are made once, however many processes want them, and a run that finds all of them makes none."""

from __future__ import annotations

import json
import multiprocessing
import time
from pathlib import Path

from vist3a_lab.pipelines.kept_parts import kept_figures, kept_folder


def want(root: Path, name: str) -> None:
    """A process that wants a folder and figures, and notes whenever it makes one."""

    def noted(what: str) -> None:
        (root / f"made-{what}-by-{name}").touch()
        # Long enough for the other process to come by.
        time.sleep(0.3)

    def make():
        noted("folder")
        return lambda folder: (folder / "file").write_text(name)

    def measure() -> dict[str, float]:
        noted("figures")
        return {"value": float("nan"), "one": 1.0}

    kept_folder(root / "parts" / "folder", make)
    kept_figures(root / "parts" / "figures", measure, "study", "part")


def test_two_processes_make_a_part_once_and_the_last_one_finds_it(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=want, args=(tmp_path, name)) for name in ("one", "other")]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    made = sorted(path.name.split("-by-")[0] for path in tmp_path.glob("made-*"))
    assert made == ["made-figures", "made-folder"]
    (maker,) = (path.name.split("-by-")[1] for path in tmp_path.glob("made-folder-*"))
    assert (tmp_path / "parts" / "folder" / "file").read_text() == maker
    want(tmp_path, "last")
    assert not list(tmp_path.glob("made-*-by-last"))
    assert json.loads((tmp_path / "parts" / "figures" / "figures.json").read_text()) == {"value": None, "one": 1.0}


def test_what_fails_leaves_nothing_and_is_made_the_next_time(tmp_path: Path) -> None:
    def fail():
        raise RuntimeError("killed")

    for keep in (
        lambda: kept_folder(tmp_path / "folder", fail),
        lambda: kept_figures(tmp_path / "figures", fail, "s", "p"),
    ):
        try:
            keep()
        except RuntimeError:
            pass
        else:
            raise AssertionError("the error is passed on")
    assert not (tmp_path / "folder").exists() and not (tmp_path / "figures" / "figures.json").exists()
    assert kept_figures(tmp_path / "figures", lambda: {"one": 1.0}, "s", "p") == {"one": 1.0}

"""A tracking store that is deleted, away, read-only, a folder, or was moved: one warning at most, and the work is done."""

from __future__ import annotations

import logging
import shutil
import socket
import sqlite3
import subprocess
import threading
import time
from contextlib import closing
from pathlib import Path

import mlflow
import pytest
import tiny_project

from vist3a_app.hooks import mlflow_run
from vist3a_app.hooks.mlflow_run import MlflowRun
from vist3a_app.hooks.moved_store import follow
from vist3a_app.hooks.run_facts import code_facts
from vist3a_app.hooks.tracking_settings import TrackingSettings
from vist3a_app.hooks.tracking_store import PATIENCE, check_store, shown

# MLflow's own packages warn each other.
pytestmark = pytest.mark.filterwarnings("default")
SETTINGS = TrackingSettings(experiment="e")
REPORTS = ("score", "align", "page")


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a run sets in the environment does not outlive the test, and is shorter in it."""
    for name in PATIENCE:
        monkeypatch.setenv(name, "1")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def begin(root: Path, settings: TrackingSettings = SETTINGS) -> MlflowRun:
    return MlflowRun(settings, root, "run", {})


def warnings_of(text: str) -> list[str]:
    return [line for line in text.splitlines() if " WARNING " in line and "licence" not in line]


def driven(root: Path, **variables: str) -> tuple[list[str], dict[str, bytes]]:
    """Warnings of one run of the small project, which ends well, and the files it writes."""
    for report in REPORTS:
        (root / "reports" / f"{report}.json").unlink(missing_ok=True)
    done = subprocess.run(
        tiny_project.command("tiny.act=nothing"),
        cwd=root,
        env=tiny_project.environment(**variables),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.splitlines()[0] == "finished", done.stderr
    assert "Traceback" not in done.stderr
    return warnings_of(done.stderr), {name: (root / "reports" / f"{name}.json").read_bytes() for name in REPORTS}


def test_the_work_is_done_whatever_becomes_of_its_record(tmp_path: Path) -> None:
    tiny_project.create(tmp_path)
    warned, files = driven(tmp_path)
    assert warned == []
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    client.delete_experiment(experiment.experiment_id)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound and not listening: refused
        server = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        for sentence, variables in (
            ("the experiment 'tiny' was deleted; `MLFLOW_TRACKING_URI=sqlite:///", {}),
            (f"(store: {server}, from MLFLOW_TRACKING_URI)", {"MLFLOW_TRACKING_URI": server}),
            ("mlruns is a folder, which MLflow does not write any more", {"MLFLOW_TRACKING_URI": "mlruns"}),
        ):
            start = time.monotonic()
            warned, again = driven(tmp_path, **variables)
            assert len(warned) == 1 and "this run is not recorded: " in warned[0] and sentence in warned[0], warned
            assert again == files
            assert time.monotonic() - start < 60
    client.restore_experiment(experiment.experiment_id)
    assert len(client.search_runs([experiment.experiment_id])) == 1


@pytest.mark.parametrize(
    ("uri", "sentence"),
    [
        ("mlruns", "mlruns is a folder, which MLflow does not write any more; allowed: sqlite:///FILE"),
        ("file:///tmp/mlruns", "file:///tmp/mlruns is a folder"),
        ("sqlite:////proc/none/mlflow.db", "/proc/none/mlflow.db cannot be written"),
        ("sqlite:////proc/version", "/proc/version cannot be written"),
        ("sqlite:///{folder}", "cannot be written (unable to open database file)"),
        ("sqlite:///{folder}/text.db", "text.db cannot be written (file is not a database)"),
        ("postgresql://name:secret@127.0.0.1:9/x", "postgresql://name:***@127.0.0.1:9/x cannot be reached"),
    ],
)
def test_a_store_that_cannot_be_written_is_known_at_once(tmp_path: Path, uri: str, sentence: str) -> None:
    (tmp_path / "text.db").write_text("no database " * 100)
    start = time.monotonic()
    with pytest.raises((ValueError, OSError)) as caught:
        check_store(uri.format(folder=tmp_path))
    assert sentence in str(caught.value)
    assert "secret" not in str(caught.value)
    assert time.monotonic() - start < 5


def test_a_read_only_file_is_known_at_once(tmp_path: Path) -> None:
    """Rights do not hold back the superuser, so the file is one that another connection does not let go."""
    file = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(file)) as other:
        other.execute("CREATE TABLE kept (x)")
        other.commit()
        before = file.read_bytes()
        check_store(f"sqlite:///{file}")
        assert file.read_bytes() == before, "asking whether a store can be written changes it"
    file.chmod(0o444)
    tmp_path.chmod(0o555)
    try:
        if not _can_write(file):
            with pytest.raises(OSError, match="cannot be written"):
                check_store(f"sqlite:///{file}")
    finally:
        tmp_path.chmod(0o755)


def _can_write(file: Path) -> bool:
    try:
        file.open("ab").close()
    except OSError:
        return False
    return True


def test_an_own_patience_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES")
    check_store("http://127.0.0.1:9")
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"
    assert os.environ.pop("MLFLOW_HTTP_REQUEST_MAX_RETRIES") == PATIENCE["MLFLOW_HTTP_REQUEST_MAX_RETRIES"]


def test_a_server_that_never_answers_does_not_hold_the_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        start = time.monotonic()
        with pytest.raises(Exception, match=r"timed out|Timeout"):
            begin(tmp_path, TrackingSettings(uri=f"http://127.0.0.1:{silent.getsockname()[1]}"))
        assert time.monotonic() - start < 20


def test_a_store_that_goes_away_costs_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In the middle of a run every call would wait for an answer; after some of that the store is left alone."""
    monkeypatch.setattr(mlflow_run, "PATIENCE_SECONDS", 0.5)
    run = begin(tmp_path)
    asked = []

    def away() -> None:
        asked.append(1)
        time.sleep(0.3)
        raise ConnectionError("nobody answers\nand more of it")

    with caplog.at_level(logging.WARNING, logger="vist3a"):
        assert [run.quietly(away) for _ in range(20)] == [False] * 20
        run.end("FINISHED")
    assert len(asked) == 2
    assert [record.message for record in caplog.records] == [
        "the record of this run is incomplete: ConnectionError: nobody answers"
    ]


def test_the_environment_names_the_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert SETTINGS.with_environment() is SETTINGS
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert SETTINGS.with_environment().absolute_uri(tmp_path) == "http://127.0.0.1:5000"
    assert SETTINGS.with_environment().artifact_location(tmp_path) is None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/kept/runs.db")
    kept = SETTINGS.with_environment()
    assert kept.artifact_location(tmp_path / "checkout") == (tmp_path / "kept" / "mlruns").as_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    assert SETTINGS.with_environment() is SETTINGS
    assert shown("http://name:secret@host:5000/x") == "http://name:***@host:5000/x"


def record(root: Path, text: str) -> str:
    """A run with one file; its number."""
    run = begin(root)
    (root / "note.txt").write_text(text)
    run.file(root / "note.txt", "notes")
    run.end("FINISHED")
    return run.id


def read(root: Path, run: str) -> str:
    """The file of a run, as ``make ui`` finds it."""
    client = mlflow.MlflowClient(f"sqlite:///{root}/mlflow.db")
    return Path(client.download_artifacts(run, "notes/note.txt")).read_text()


def test_files_follow_a_checkout_that_is_moved_or_copied(tmp_path: Path) -> None:
    first, copied, moved = (tmp_path / name for name in ("a project é", "copied", "moved here"))
    first.mkdir()
    old = record(first, "old")
    shutil.copytree(first, copied)
    new = record(copied, "new")
    assert (read(copied, old), read(copied, new)) == ("old", "new")
    assert [path.name for path in (first / "mlruns").iterdir()] == [old], "the copy writes into the original"
    assert read(first, old) == "old"
    copied.rename(moved)
    assert follow(moved / "mlflow.db", "mlruns") > 0
    assert follow(moved / "mlflow.db", "mlruns") == 0
    assert (read(moved, old), read(moved, new)) == ("old", "new")
    # What the copy says is nothing to the original.
    (moved / "mlruns" / old / "artifacts" / "notes" / "note.txt").write_text("changed")
    assert read(first, old) == "old"


def test_a_database_copied_alone_still_names_the_old_files(tmp_path: Path) -> None:
    first, alone = tmp_path / "first", tmp_path / "alone"
    first.mkdir()
    alone.mkdir()
    old = record(first, "old")
    shutil.copy(first / "mlflow.db", alone)
    new = record(alone, "new")
    assert (read(alone, old), read(alone, new)) == ("old", "new")
    assert (alone / "mlruns" / new).is_dir()


def test_a_chosen_place_stays(tmp_path: Path) -> None:
    chosen = tmp_path / "chosen"
    settings = TrackingSettings(experiment="e", artifacts=str(chosen))
    for name in ("first", "moved"):
        (tmp_path / name).mkdir(exist_ok=True)
    record_in = begin(tmp_path / "first", settings)
    record_in.end("FINISHED")
    shutil.copy(tmp_path / "first" / "mlflow.db", tmp_path / "moved")
    run = begin(tmp_path / "moved", settings)
    (tmp_path / "note.txt").write_text("kept")
    run.file(tmp_path / "note.txt", "notes")
    run.end("FINISHED")
    assert (chosen / run.id / "artifacts" / "notes" / "note.txt").is_file()
    # Nor is a place touched that somebody gave to the experiment.
    follow(tmp_path / "moved" / "mlflow.db", "mlruns")
    found = mlflow.MlflowClient(f"sqlite:///{tmp_path}/moved/mlflow.db").get_experiment_by_name("e")
    assert found is not None and found.artifact_location == chosen.as_uri()


def test_no_store_is_made_by_looking(tmp_path: Path) -> None:
    assert follow(tmp_path / "mlflow.db", "mlruns") == 0
    assert list(tmp_path.iterdir()) == []


def test_a_checkout_of_another_owner_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert code_facts(tmp_path) == {} and not caplog.records, "no repository, nothing to say"
    tiny_project.create(tmp_path)
    assert code_facts(tmp_path)["git.dirty"] == "false"
    # As git's own tests do it; git on the machine may trust all folders.
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    assert code_facts(tmp_path) == {}
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.message.startswith("the commit of this code is not recorded: fatal: detected dubious ownership")
    assert f"git config --global --add safe.directory {tmp_path}" in record.message


def test_two_runs_follow_at_the_same_time(tmp_path: Path) -> None:
    first, moved = tmp_path / "first", tmp_path / "moved"
    first.mkdir()
    old = record(first, "old")
    first.rename(moved)
    threads = [threading.Thread(target=follow, args=(moved / "mlflow.db", "mlruns")) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read(moved, old) == "old"

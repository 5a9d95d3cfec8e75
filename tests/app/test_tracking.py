"""What a run leaves in the tracking store, seen from outside: finished, failed, killed, switched off."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import tiny_project
from pydantic import BaseModel
from safetensors.numpy import save_file

from vist3a.runtime.step_log import listening, step_log
from vist3a_app.hooks.flatten import cut, flatten_metrics, flatten_parameters, safe_name
from vist3a_app.hooks.interrupts import Interrupts
from vist3a_app.hooks.layer_report import layer_rows, layer_table, stitch_point
from vist3a_app.hooks.run_note import before_after, run_note
from vist3a_app.hooks.tracking_settings import TrackingSettings, switched_on
from vist3a_app.hooks.usage import Usage

LONG = "x" * 7000


class Recorded:
    """Rows of one run."""

    def __init__(self, root: Path, position: int) -> None:
        with sqlite3.connect(root / "mlflow.db") as database:
            runs = database.execute("select run_uuid, status, name, artifact_uri from runs order by start_time")
            self.id, self.status, self.name, uri = runs.fetchall()[position]
            self.tags = dict(database.execute("select key, value from tags where run_uuid = ?", [self.id]))
            self.parameters = dict(database.execute("select key, value from params where run_uuid = ?", [self.id]))
            rows = database.execute("select key, step, value from metrics where run_uuid = ? order by step", [self.id])
            self.metrics: dict[str, list[tuple[int, float]]] = {}
            for key, step, value in rows:
                self.metrics.setdefault(key, []).append((step, value))
        self.folder = folder = Path(uri.removeprefix("file://"))
        self.files = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small project after three runs: one good, one with a failing node, one that another hook refuses."""
    root = tmp_path_factory.mktemp("tiny")
    tiny_project.create(root)
    ended = tiny_project.drive(root, f"tiny.text={LONG} -- tiny.act=fail -- tinny.act=fail", DVC_STAGE="score")
    assert ended[0] == "finished"
    assert ended[1] == "ValueError: the clip has no frames"
    assert ended[2].endswith("unknown parameter group 'tinny'; allowed: tiny; did you mean 'tiny'?")
    return root


def test_a_finished_run_is_described(project: Path) -> None:
    run = Recorded(project, 0)
    assert run.status == "FINISHED"
    assert run.name.startswith("stitch ")
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=project, capture_output=True, text=True, check=True
    ).stdout
    assert run.tags["mlflow.source.git.commit"] == commit.strip()
    assert run.tags["git.dirty"] == "false"
    assert run.tags["dvc.stage"] == "score"
    assert run.tags["started_by"] == "dvc"
    assert run.tags["seed"] == "7"
    assert "tiny.text" in run.tags["kedro.command"]
    assert {"hardware.cpu", "hardware.cores", "hardware.memory_gib", "hardware.gpu"} <= run.tags.keys()
    assert {"torch.threads", "version.python", "version.torch", "kedro.run_id", "kedro.env"} <= run.tags.keys()


def test_licences_of_the_weights_are_recorded(project: Path) -> None:
    for position in (0, 1):
        assert Recorded(project, position).tags["licence.net"] == "CC-BY-NC-4.0 (no commercial use)"


def test_typed_parameters_are_flat(project: Path) -> None:
    parameters = Recorded(project, 0).parameters
    assert parameters["tiny.inner.rate"] == "0.5"
    assert parameters["tiny.inner.taps"] == "[1, 2]"
    assert parameters["tiny.text"].endswith("(7000 characters in all)")
    assert len(parameters["tiny.text"]) == 6000


def test_reports_become_metrics_curves_and_files(project: Path) -> None:
    run = Recorded(project, 0)
    assert run.metrics["align/reward/last"] == [(0, 0.5)]
    assert run.metrics["score/samples"] == [(0, 12.0)]
    assert run.metrics["align/reward"] == [(step, step / 10) for step in range(1, 6)]
    assert run.metrics["score/r2_heldout_by_layer"] == [(0, 0.25), (1, 0.75), (2, 0.5)]
    assert {"reports/score.json", "reports/align.json", "reports/page.json", "score_layers.json"} <= run.files
    assert not [name for name in run.metrics if name.startswith(("score/points", "align/kinds"))]


def test_figures_by_kind_are_a_table_and_the_worst_is_in_the_description(project: Path) -> None:
    run = Recorded(project, 0)
    found = json.loads((run.folder / "align_kinds.json").read_text())
    rows = [dict(zip(found["columns"], row, strict=True)) for row in found["data"]]
    assert [(row["kind"], row["prompts"], row["before"], row["after"]) for row in rows] == [
        ("shape: cone", 1, 1.0, 0.0),
        ("shape: cube", 1, 1.0, 1.0),
    ]
    note = run.tags["mlflow.note.content"]
    assert "### Worst kinds of prompts\n- accuracy/decoded: shape: cone 0% (0% to 79%, 1 prompt)" in note


def test_who_did_what_is_a_table_and_the_machines_are_a_tag(project: Path) -> None:
    run = Recorded(project, 0)
    found = json.loads((run.folder / "workers.json").read_text())
    row, again = [dict(zip(found["columns"], row, strict=True)) for row in found["data"]]
    assert (again["work"], again["items"]) == ("draw again", 3)
    number = int(run.tags["process.id"].partition("/")[0])
    assert (row["work"], row["host"], row["process"]) == ("draw", run.tags["process.host"], number)
    assert (row["items"], row["failed"], row["died"]) == (3, 0, "")
    assert run.tags["workers.hosts"] == run.tags["process.host"]


def test_pictures_of_a_training_are_kept_by_step(project: Path) -> None:
    (name,) = {name for name in Recorded(project, 0).files if name.startswith("images/") and name.endswith(".png")}
    assert "preview" in name
    assert "step+3" in name


def test_time_and_memory_of_every_node_and_pipeline(project: Path) -> None:
    metrics = Recorded(project, 0).metrics
    for name in ("stage/score_points", "stage/draw_views", "stage/act", "pipeline/score", "pipeline/rest"):
        assert metrics[f"{name}/seconds"][0][1] >= 0
        assert metrics[f"{name}/peak_memory_mib"][0][1] > 1


def test_the_layer_choice_is_on_the_page(project: Path) -> None:
    run = Recorded(project, 0)
    assert run.tags["stitch.layer"] == run.parameters["stitch.layer"] == "encoder.1"
    note = run.tags["mlflow.note.content"]
    assert "**encoder.1**: highest held-out R2" in note
    assert "| align/reward | 0.1 | 0.5 |" in note


def test_pictures_are_in_the_description_and_pages_are_linked() -> None:
    note = run_note({}, "run7", "1", ["generated/viewers/a-scene-0.html", "reports/score.png", "reports/score.json"])
    assert "- [a-scene-0](#/experiments/1/runs/run7/artifacts/generated/viewers/a-scene-0.html)" in note
    assert "![reports/score.png](get-artifact?path=reports%2Fscore.png&run_uuid=run7)" in note
    assert "score.json" not in note


def test_the_stitch_point_of_a_folder(tmp_path: Path) -> None:
    assert stitch_point(tmp_path) is None
    save_file({"weight": np.zeros(1)}, tmp_path / "stitch.safetensors", {"point": "encoder.03"})
    assert stitch_point(tmp_path) == "encoder.03"


def test_a_failing_node_and_a_refusing_hook_end_as_failed(project: Path) -> None:
    node, hook = Recorded(project, 1), Recorded(project, 2)
    assert (node.status, hook.status) == ("FAILED", "FAILED")
    assert node.tags["error"] == "ValueError: the clip has no frames"
    assert "tinny" in hook.tags["error"]
    assert "stage/act/seconds" in node.metrics


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_run_is_killed(project: Path, number: signal.Signals) -> None:
    waiting = project / "waiting"
    waiting.unlink(missing_ok=True)
    process = subprocess.Popen(
        tiny_project.command("tiny.act=wait"), cwd=project, env=tiny_project.environment(), stderr=subprocess.DEVNULL
    )
    try:
        until = time.monotonic() + 300
        while not waiting.exists() and time.monotonic() < until:
            time.sleep(0.1)
        process.send_signal(number)
        assert process.wait(300) != 0
    finally:
        process.kill()
    run = Recorded(project, -1)
    assert run.status == "KILLED"
    assert run.tags["error"] == f"stopped by {number.name}"


def test_switched_off_leaves_no_trace(project: Path) -> None:
    before = Recorded(project, -1).id
    assert tiny_project.drive(project, "tiny.act=nothing", VIST3A_TRACKING="off") == [
        "finished",
        "mlflow imported: False",
    ]
    assert Recorded(project, -1).id == before


def test_two_runs_do_not_write_in_one_workspace(project: Path) -> None:
    lock = project / "data" / ".run.lock"
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        held.write("pid 1234, pipeline align\n")
        held.flush()
        refused, _ = tiny_project.drive(project, "tiny.act=nothing", VIST3A_TRACKING="off")
    assert refused.startswith("RuntimeError: another run is writing in ")
    assert "pid 1234, pipeline align; wait" in refused


def test_without_mlflow_there_is_one_warning(project: Path, tmp_path: Path) -> None:
    # A package of that name that cannot be imported stands for one that is not installed.
    (tmp_path / "mlflow.py").write_text("raise ImportError('no module named mlflow')\n")
    done = subprocess.run(
        tiny_project.command("tiny.act=nothing"),
        cwd=project,
        env=tiny_project.environment(
            PYTHONPATH=os.pathsep.join([str(tmp_path), tiny_project.environment()["PYTHONPATH"]])
        ),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[0] == "finished"
    assert done.stderr.count("this run is not recorded") == 1


class Inner(BaseModel):
    """Typed parameters of the next test."""

    rate: float
    names: tuple[str, ...]


def test_flattening() -> None:
    assert flatten_parameters({"a": Inner(rate=1.5, names=("x",)).model_dump(), "b": {}}, "p") == {
        "p.a.rate": "1.5",
        "p.a.names": '["x"]',
        "p.b": "{}",
    }
    assert flatten_metrics({"a": {"b": 1, "c": True, "d": "text", "e": float("nan")}, "f": [2, 3.5]}, "r") == {
        "r/a/b": 1.0,
        "r/a/c": 1.0,
        "r/f/0": 2.0,
        "r/f/1": 3.5,
    }
    assert safe_name("a=b(c)") == "a_b_c_"
    assert cut("short", 10) == "short"


def test_layers_keep_the_order_of_the_network() -> None:
    report = {
        "functional_error": {"a.10": {"points": 0.2}},
        "points": {"a.10": {"index": 1, "r2": 0.5}, "a.9": {"index": 0, "r2": 0.1, "why": "text"}},
        "chosen": "a.10",
    }
    assert layer_table(layer_rows(report)) == {
        "layer": [0, 1],
        "point": ["a.9", "a.10"],
        "chosen": ["", "yes"],
        "functional_points": [None, 0.2],
        "r2": [0.1, 0.5],
    }


@pytest.mark.parametrize(
    "report",
    [
        {"rgb": {"before": 1.0, "after": 0.5}},
        {"before": {"rgb": 1.0}, "after": {"rgb": 0.5}},
        {"rgb_before": 1.0, "rgb_after": 0.5},
        {"rgb": {"first": 1.0, "last": 0.5}},
    ],
)
def test_pairs_are_found_in_every_spelling(report: Mapping[str, object]) -> None:
    assert list(before_after(report, "distill")) == [("distill/rgb", 1.0, 0.5)]


def test_a_report_without_pairs_needs_no_note() -> None:
    assert run_note({"extract": {"samples": 3}}) == ""


def test_step_log_serves_sinks_and_the_log(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[tuple[str, int, dict[str, float]]] = []

    def sink(name: str, step: int, scalars: Mapping[str, float]) -> None:
        seen.append((name, step, dict(scalars)))

    log = step_log("distill")
    with caplog.at_level(logging.INFO, logger="vist3a"), listening(sink):
        log(3, {"loss": 0.25})
    log(4, {"loss": 0.125})
    assert seen == [("distill", 3, {"loss": 0.25})]
    assert "distill step 3: loss 0.25" in caplog.text


def test_a_signal_during_a_write_waits_for_its_end() -> None:
    events: list[str] = []
    interrupts = Interrupts(events.append)
    interrupts.install()
    try:
        with pytest.raises(KeyboardInterrupt), interrupts.shielded():
            signal.raise_signal(signal.SIGINT)
            events.append("written")
    finally:
        interrupts.restore()
    assert events == ["written", "SIGINT"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_usage_sees_a_peak_that_is_gone() -> None:
    usage = Usage()
    block = bytearray(200 * 2**20)
    block[::4096] = b"x" * len(block[::4096])
    time.sleep(0.2)
    held = usage._peak
    del block
    assert usage.stop()["peak_memory_mib"] * 2**20 >= held > 200 * 2**20


def test_paths_and_switch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = TrackingSettings()
    assert settings.absolute_uri(tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"
    assert settings.artifact_location(tmp_path) == (tmp_path / "mlruns").as_uri()
    server = TrackingSettings(uri="http://127.0.0.1:5000")
    assert server.absolute_uri(tmp_path) == server.uri
    assert server.artifact_location(tmp_path) is None
    monkeypatch.setenv("VIST3A_TRACKING", "maybe")
    with pytest.raises(ValueError, match="allowed are on and off"):
        switched_on()

"""Kedro's runners and ours: the same files and record, or a sentence."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
import tiny_project
from test_tracking import Recorded

RAY = "vist3a_app.ray.RayRunner"
REPORTS = ("score", "align", "page")

pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install 'vist3a[ray]'")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small project after runs by each runner, and one whose node fails elsewhere."""
    root = tmp_path_factory.mktemp("tiny")
    tiny_project.create(root)
    runs = ["runner=SequentialRunner", f"runner={RAY}", "runner=ThreadRunner", "runner=ParallelRunner"]
    ended = tiny_project.drive(root, " -- ".join([*runs, f"runner={RAY} tiny.act=fail"]))
    assert ended[:3] == ["finished"] * 3
    assert ended[3].startswith("ValueError: --runner=ParallelRunner: its processes would neither be recorded")
    assert ended[4] == "ValueError: the clip has no frames"
    return root


@pytest.mark.parametrize("position", [1, 2])
def test_the_record_is_that_of_one_process(project: Path, position: int) -> None:
    alone, other = Recorded(project, 0), Recorded(project, position)
    assert other.status == "FINISHED"
    assert other.parameters == alone.parameters

    def results(run: Recorded) -> dict[str, list[tuple[int, float]]]:
        return {name: rows for name, rows in run.metrics.items() if not name.startswith(("stage/", "pipeline/"))}

    assert results(other) == results(alone)
    assert {name for name in other.files if "images" not in name} == {f for f in alone.files if "images" not in f}
    assert len([name for name in other.files if name.startswith("images/") and name.endswith(".png")]) == 1
    assert other.tags["licence.net"] == alone.tags["licence.net"]
    assert other.tags["stitch.layer"] == alone.tags["stitch.layer"]
    for report in REPORTS:
        assert (other.folder / f"reports/{report}.json").read_bytes() == (
            alone.folder / f"reports/{report}.json"
        ).read_bytes()


def test_nodes_of_a_cluster_are_in_the_record_with_their_processes(project: Path) -> None:
    run = Recorded(project, 1)
    found = json.loads((run.folder / "workers.json").read_text())
    rows = [dict(zip(found["columns"], row, strict=True)) for row in found["data"]]
    nodes = {row["work"]: row for row in rows if row["work"].startswith("node ")}
    assert nodes.keys() == {"node score_points", "node draw_views", "node act"}
    driver = int(run.tags["process.id"].partition("/")[0])
    assert driver not in {row["process"] for row in rows}
    assert all(row["items"] == 1 for row in nodes.values())


def test_a_node_that_fails_elsewhere_is_a_failed_run(project: Path) -> None:
    run = Recorded(project, 4)
    assert (run.status, run.tags["error"]) == ("FAILED", "ValueError: the clip has no frames")


@pytest.mark.long
def test_a_stopped_run_does_not_wait_for_its_nodes(tmp_path: Path) -> None:
    tiny_project.create(tmp_path)
    process = subprocess.Popen(
        tiny_project.command(f"runner={RAY}", "tiny.act=wait"), cwd=tmp_path, env=tiny_project.environment()
    )
    try:
        end = time.monotonic() + 120
        while not (tmp_path / "waiting").exists():
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.1)
        nodes = psutil.Process(process.pid).children(recursive=True)
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(30) != 0
    finally:
        process.kill()
    assert Recorded(tmp_path, 0).status == "KILLED"
    psutil.wait_procs(nodes, timeout=30)
    assert not [node for node in nodes if node.is_running()]

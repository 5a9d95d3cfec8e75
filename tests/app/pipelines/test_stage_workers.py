"""Stages by workers of every kind end with the very files of one process, also when they are killed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest
import tiny_chain
from kedro.utils import load_obj
from stage_project import PROMPTS, STAGES, create, differing, finished, forget, kept, outputs, results, workers_of

TESTS = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, Any]]]:
    """A tiny project after the stages before, in its folder, and its parameters."""
    root, before = tmp_path_factory.mktemp("project"), Path.cwd()
    os.chdir(root)
    try:
        values = create(root)
        yield root, values
    finally:
        os.chdir(before)


@pytest.fixture(scope="module")
def whole(project: tuple[Path, dict[str, Any]]) -> dict[str, dict[str, bytes]]:
    """By stage, what one process leaves."""
    return {stage: made(project, stage) for stage in STAGES}


def made(project: tuple[Path, dict[str, Any]], stage: str, **workers: Any) -> dict[str, bytes]:
    """What a stage leaves, made anew."""
    root, values = project
    forget(root, stage)
    tiny_chain.run(root, stage, {**values, "workers": workers})
    return results(root, stage)


def same(found: dict[str, bytes], expected: dict[str, bytes]) -> None:
    assert differing(found, expected) == []


RAY = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install 'vist3a[ray]'")
KINDS = [
    ("processes", 2),
    pytest.param("ray", 3, marks=RAY),
    pytest.param("processes", 3, marks=pytest.mark.long),
    *(pytest.param("ray", count, marks=[RAY, pytest.mark.long]) for count in (1, 2)),
]


@pytest.mark.parametrize(("kind", "count"), KINDS)
@pytest.mark.parametrize("stage", STAGES)
def test_any_number_of_workers_of_any_kind_gives_equal_bits(
    project: tuple[Path, dict[str, Any]], whole: dict[str, dict[str, bytes]], stage: str, kind: str, count: int
) -> None:
    same(made(project, stage, kind=kind, count=count), whole[stage])


@pytest.mark.parametrize("runner", ["ThreadRunner", pytest.param("vist3a_app.ray.RayRunner", marks=RAY)])
@pytest.mark.parametrize("stage", ["curate", pytest.param("evaluate", marks=pytest.mark.long)])
def test_every_runner_gives_equal_bits(
    project: tuple[Path, dict[str, Any]], whole: dict[str, dict[str, bytes]], stage: str, runner: str
) -> None:
    root, values = project
    forget(root, stage)
    tiny_chain.run(root, stage, values, load_obj(runner, "kedro.runner")())
    same(results(root, stage), whole[stage])


@RAY
def test_workers_on_ray_within_nodes_on_ray_are_refused(project: tuple[Path, dict[str, Any]]) -> None:
    root, values = project
    runner = load_obj("vist3a_app.ray.RayRunner", "kedro.runner")()
    with pytest.raises(ValueError, match=r"workers\.kind: ray with RayRunner: .*allowed: here or processes"):
        tiny_chain.run(root, "extract", {**values, "workers": {"kind": "ray"}}, runner)


def soon(condition: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


@pytest.mark.parametrize("kind", ["processes", pytest.param("ray", marks=[RAY, pytest.mark.long])])
@pytest.mark.parametrize("stage", STAGES)
def test_a_worker_killed_in_the_middle_changes_nothing(
    project: tuple[Path, dict[str, Any]], whole: dict[str, dict[str, bytes]], stage: str, kind: str,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    killed: list[int] = []

    def kill() -> None:
        soon(lambda: bool(kept(project[0])))
        for process in workers_of(kind):
            process.kill()
            killed.append(process.pid)

    killer = threading.Thread(target=kill)
    forget(project[0], stage)
    killer.start()
    tiny_chain.run(project[0], stage, {**project[1], "workers": {"kind": kind, "count": 2}})
    killer.join()
    same(results(project[0], stage), whole[stage])
    assert killed
    assert "another takes its place" in caplog.text


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("kind", [pytest.param("here", marks=pytest.mark.long), "processes"])
def test_a_driver_killed_in_the_middle_is_started_again(
    project: tuple[Path, dict[str, Any]], whole: dict[str, dict[str, bytes]], stage: str, kind: str, tmp_path: Path
) -> None:
    root, values = project
    forget(root, stage)
    workers = {"kind": kind, "count": 1 if kind == "here" else 2}
    (tmp_path / "values.json").write_text(json.dumps({**values, "workers": workers}))
    paths = os.pathsep.join([str(TESTS.parent / "src"), str(TESTS)])
    driver = subprocess.Popen(
        [sys.executable, "-W", "ignore", str(Path(__file__).with_name("stage_driver.py")), str(root), stage,
         str(tmp_path / "values.json")],
        cwd=root, env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths}, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    started = psutil.Process(driver.pid)
    try:
        soon(lambda: len(finished(root)) > 1)
        alive = started.children(recursive=True)
    finally:
        driver.kill()
        driver.wait()
    psutil.wait_procs(alive, timeout=60)
    assert not [process for process in alive if process.is_running()]
    stamps = {path: path.stat().st_mtime_ns for path in finished(root)}
    assert stamps
    done_twice: list[Path] = []

    def watch() -> None:
        while not over.wait(0.001):
            for path, stamp in stamps.items():
                try:
                    changed = path.stat().st_mtime_ns != stamp
                except FileNotFoundError:  # taken up, and no longer needed
                    continue
                if changed:
                    done_twice.append(path)

    over = threading.Event()
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        tiny_chain.run(root, stage, {**values, "workers": workers})
    finally:
        over.set()
        watcher.join()
    same(results(root, stage), whole[stage])
    assert done_twice == []


@pytest.mark.parametrize("workers", [{}, pytest.param({"kind": "processes", "count": 2}, marks=pytest.mark.long)])
def test_a_prompt_that_fails_is_quarantined_and_tried_again_alone(
    project: tuple[Path, dict[str, Any]], whole: dict[str, dict[str, bytes]], workers: dict[str, Any]
) -> None:
    root, values = project
    forget(root, "generate")
    report = root / "data/08_reporting/generated.json"
    taken = root / "data/07_model_output/generated/blue-ball-0"
    shutil.rmtree(taken)
    taken.write_text("a file in the way")
    tiny_chain.run(root, "generate", {**values, "workers": workers})
    found = json.loads(report.read_text())
    assert found["scenes"].keys() == set(PROMPTS) - {"blue ball"}
    assert list(found["quarantined"]) == ["blue ball"]
    assert "blue-ball-0" in found["quarantined"]["blue ball"]
    taken.unlink()
    before = {path: path.stat().st_mtime_ns for path in outputs(root, "generate") if "07_model_output" in str(path)}
    tiny_chain.run(root, "generate", {**values, "workers": workers})
    same(results(root, "generate"), whole["generate"])
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in before.items())


def test_what_no_prompt_can_be_made_with_is_an_error(project: tuple[Path, dict[str, Any]]) -> None:
    root, values = project
    forget(root, "generate")
    with pytest.raises(ValueError, match="frames"):
        tiny_chain.run(root, "generate", {**values, "generate": {**values["generate"], "frames": 6}})


def test_prompts_that_fail_before_alignment_are_left_out_after_it(project: tuple[Path, dict[str, Any]]) -> None:
    root, values = project
    forget(root, "evaluate")
    picky = {**values["evaluate"], "metrics": ["picky_metric:PickyMetric"]}
    tiny_chain.run(root, "evaluate", {**values, "evaluate": picky})
    report = json.loads((root / "data/08_reporting/evaluate.json").read_text())
    # The third scene is the first of the second block, whose two prompts share a rollout.
    assert len(report["quarantined"]) == 2
    assert set(report["quarantined"].values()) == {"no third scene; allowed: all others"}
    assert report["generation"]["prompts"] == 3

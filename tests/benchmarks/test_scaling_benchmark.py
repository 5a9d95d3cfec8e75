"""The benchmark of many workers runs tiny; its plan agrees with what can be said without playing it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = REPOSITORY / "benchmarks" / "scaling.py"


@pytest.fixture(scope="module")
def scaling() -> ModuleType:
    sys.path.insert(0, str(SCRIPT.parent))
    spec = spec_from_file_location("scaling", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = sys.modules["scaling"] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_plan_is_bound_by_what_is_scarce(scaling: ModuleType) -> None:
    cost = scaling.Cost(seconds=2.0, load=0.0, bytes=1e6)
    free = scaling.plan(cost, 8000, 8, driver=0.0, store=1e12)
    # 16,000 s of work on eight, the last item aside.
    assert (free.limit, free.hours * 3600) == ("workers", pytest.approx(2000, rel=0.02))
    assert free.efficiency == pytest.approx(1, abs=0.01)
    # A driver that spends a second on each of 8000.
    slow = scaling.plan(cost, 8000, 64, driver=1.0, store=1e12)
    assert (slow.limit, slow.hours * 3600) == ("driver", pytest.approx(8000, rel=0.01))
    # 8 GB at a megabyte a second.
    full = scaling.plan(cost, 8000, 64, driver=0.0, store=1e6)
    assert (full.limit, full.hours * 3600) == ("store", pytest.approx(8000))
    few = scaling.plan(scaling.Cost(seconds=1.0, load=100.0, bytes=0.0), 64, 64, driver=0.0, store=1e12)
    assert few.limit == "loading" and 100 < few.hours * 3600 < 103


def test_items_that_share_a_rollout_are_one(scaling: ModuleType) -> None:
    together = scaling.plan(scaling.Cost(1.0, 0.0, 0.0, together=4), 400, 10, driver=1.0, store=1e12)
    assert together.hours * 3600 == pytest.approx(100 + 4, rel=0.02)


@pytest.mark.long
def test_it_runs_tiny(tmp_path: Path) -> None:
    out = tmp_path / "scaling.json"
    command = [
        sys.executable,
        "-W",
        "ignore",
        str(SCRIPT),
        "--tiny",
        "--stages",
        "curate",
        "extract",
        "--out",
        str(out),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(out.read_text())
    works = {title: runs["2"]["work"][title] for runs in found["stages"].values() for title in runs["2"]["work"]}
    assert {title: work["items"] for title, work in works.items()} == {"render scenes": 3, "extract": 6}
    assert all(work["seconds"] > 0 and work["efficiency"] > 0 for work in works.values())
    assert found["plans"]["10,000 scenes"]["extract"].keys() == {"8", "64", "512"}

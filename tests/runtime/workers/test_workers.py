"""Workers of every kind: the same outcomes in the same order, whoever does the work, fails or dies."""

from __future__ import annotations

import json
import os
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import arithmetic
import psutil
import pytest
import torch

from vist3a.runtime.atomic import DiskFullError
from vist3a.runtime.numerics import Numerics
from vist3a.runtime.workers.accounts import Account, listening
from vist3a.runtime.workers.mapping import mapped
from vist3a.runtime.workers.settings import HERE, WorkerSettings
from vist3a.runtime.workers.work import Failed, Finished, WorkerDiedError
from vist3a_app.sentences import sentence

with_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install 'vist3a[ray]'")
OTHERS = ["processes", pytest.param("ray", marks=with_ray)]
TESTS = Path(__file__).resolve().parents[2]


def told(items: list[Any], settings: WorkerSettings = HERE, load: Any = arithmetic.squares) -> list[Any]:
    """Results, and the reasons of what failed."""
    found = mapped(load, items, settings)
    return [one.value if isinstance(one, Finished) else one.reason for one in found]


@pytest.fixture
def numerics() -> Iterator[None]:
    before = Numerics.of_this_process()
    yield
    before.put_up()


@pytest.mark.parametrize(("kind", "count"), [("here", 1), *((k, c) for k in ("processes", "ray") for c in (1, 2, 3))])
def test_outcomes_come_in_the_order_of_the_items(kind: Any, count: int, tmp_path: Path) -> None:
    if kind == "ray" and find_spec("ray") is None:
        pytest.skip("Ray is not installed")
    items: list[Any] = [3, 0, 4, "refuse", *range(5, 25), "odd"]
    counted: list[int] = []
    settings = WorkerSettings(kind=kind, count=count)
    found = list(mapped(partial(arithmetic.squares, tmp_path), items, settings, done=counted.append))
    values = [one.value for one in found if isinstance(one, Finished)]
    assert values == [9, 0, 16, *(n**2 for n in range(5, 25))]
    failed = {number: one.reason for number, one in enumerate(found) if isinstance(one, Failed)}
    assert failed.keys() == {3, 24}
    assert failed[3] == "refuse: a word; allowed: numbers"
    assert failed[24].endswith("OddError: one and two")
    assert sum(counted) == 2 * 23
    # Every worker loads once, whatever fails.
    assert 1 <= len(list(tmp_path.glob("loaded-*"))) <= count


@pytest.mark.parametrize("kind", ["here", *OTHERS])
def test_it_is_told_who_did_what(kind: Any, tmp_path: Path) -> None:
    told: list[tuple[str, list[Account]]] = []
    # Only others can be killed.
    items: list[Any] = [*range(2, 8), "refuse", *([] if kind == "here" else [tmp_path / "first"])]
    settings = WorkerSettings(kind=kind, count=1 if kind == "here" else 2)
    with listening(lambda title, accounts: told.append((title, list(accounts)))):
        list(mapped(arithmetic.squares, items, settings, title="squares"))
    ((title, accounts),) = told
    assert title == "squares"
    assert {account.place.host for account in accounts} == {platform.node()}
    died = [account for account in accounts if account.end]
    assert len(died) == (kind != "here")
    processes = {account.place.process for account in accounts}
    # The one in place of the dead one may come too late to work.
    assert len(processes) == len(accounts) and len(accounts) in ({1} if kind == "here" else {2, 3})
    assert (os.getpid() in processes) == (kind == "here")
    assert (sum(account.items for account in accounts), sum(account.failed for account in accounts)) == (
        len(items) - 1,
        1,
    )
    # The first three take 0.09, 0.06 and 0.03 s.
    assert 0.18 <= sum(account.seconds for account in accounts) < 60


def test_nothing_is_loaded_for_no_item() -> None:
    assert list(mapped(arithmetic.broken, [])) == []


@pytest.mark.parametrize("kind", OTHERS)
def test_a_killed_worker_changes_nothing(kind: Any, tmp_path: Path) -> None:
    items = [1, tmp_path / "first", 2, *range(5, 9), tmp_path / "second", 3]
    assert told(items, WorkerSettings(kind=kind, count=2)) == [1, "first", 4, 25, 36, 49, 64, "second", 9]


@pytest.mark.parametrize("kind", OTHERS)
def test_an_item_that_kills_its_workers_is_given_up(kind: Any) -> None:
    first, second, third = told([1, "die", 2], WorkerSettings(kind=kind, count=2, attempts=2))
    assert (first, third) == (1, 4)
    assert second.startswith("2 workers died over it, the last by ")
    assert kind == "ray" or second.endswith("SIGKILL")


@pytest.mark.parametrize("kind", ["here", *OTHERS])
def test_what_concerns_all_items_ends_the_work(kind: Any) -> None:
    settings = WorkerSettings(kind=kind)
    with pytest.raises(FileNotFoundError, match="no weights are here; allowed: a folder with weights"):
        told([1, 2], settings, arithmetic.broken)
    with pytest.raises(DiskFullError, match="no space is left"):
        told([1, "full", 2], settings)


def test_workers_end_with_the_error_that_ends_the_work() -> None:
    with pytest.raises(DiskFullError) as held:
        told([1, "full", 2], WorkerSettings(kind="processes", count=2))
    assert held.tb is not None
    # While the error, and with it its traceback, is still held.
    assert not [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]


@pytest.mark.parametrize("kind", ["here", *OTHERS])
def test_only_a_mistake_of_the_user_is_told_as_a_sentence(kind: Any) -> None:
    mistake, fault = mapped(arithmetic.squares, ["settings", "torch"], WorkerSettings(kind=kind))
    assert isinstance(mistake, Failed) and isinstance(fault, Failed)
    # Raised again by us, as the stages do: that is not where it began.
    for outcome in (mistake, fault):
        with pytest.raises(type(outcome.error)):
            raise outcome.error
    assert str(sentence(mistake.error)).startswith("workers.count: 2 with workers.kind here")
    assert isinstance(fault.error, RuntimeError) and sentence(fault.error) is None


@pytest.mark.parametrize("kind", OTHERS)
def test_workers_that_die_while_they_load_are_not_started_for_ever(kind: Any) -> None:
    with pytest.raises(WorkerDiedError, match="2 workers died while they loaded, the last by "):
        told([1, 2], WorkerSettings(kind=kind, attempts=2), arithmetic.dying)


@pytest.mark.parametrize("kind", OTHERS)
def test_workers_compute_like_the_first_process(
    kind: Any, numerics: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(3)
    torch.set_float32_matmul_precision("high")
    torch.set_deterministic_debug_mode("warn")
    monkeypatch.chdir(tmp_path)
    assert told(["threads", "folder"], WorkerSettings(kind=kind)) == [(3, "high", 1), str(tmp_path)]


def test_what_waits_for_its_turn_is_bounded(tmp_path: Path) -> None:
    """The first item is the slowest: the others must not all be done before it."""
    items: list[Any] = [tmp_path / "never", *range(5, 60)]
    seen = []
    outcomes = mapped(slow_first, items, WorkerSettings(kind="processes", count=2), done=seen.append)
    next(outcomes)
    assert len(seen) <= 8
    assert len(list(outcomes)) == 55


def slow_first() -> arithmetic.Work:
    """Waits with paths, not with numbers."""

    def work(item: Any, done: Any) -> Any:
        if isinstance(item, Path):
            time.sleep(1.0)
        done(1)
        return str(item)

    return work


@pytest.mark.parametrize("kind", OTHERS)
def test_no_worker_outlives_a_killed_driver(kind: Any, tmp_path: Path) -> None:
    paths = os.pathsep.join([str(TESTS.parent / "src"), str(TESTS), str(Path(__file__).parent)])
    driver = subprocess.Popen(
        [sys.executable, "-W", "ignore", str(Path(__file__).with_name("workers_driver.py")), kind, str(tmp_path)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths},
    )
    try:
        workers = within(120, lambda: list(tmp_path.glob("worker-*")), 2)
        driver.kill()
    finally:
        driver.kill()
        driver.wait()
    numbers = [int(path.name.removeprefix("worker-")) for path in workers]
    within(60, lambda: [] if any(map(psutil.pid_exists, numbers)) else [True], 1)


def within(seconds: float, look: Any, count: int) -> list[Any]:
    """What ``look`` finds, once it is so much."""
    end = time.monotonic() + seconds
    while len(found := look()) < count:
        assert time.monotonic() < end, f"{found} after {seconds} s"
        time.sleep(0.05)
    return list(found)


def test_several_workers_are_no_single_process() -> None:
    with pytest.raises(
        ValueError, match=r"workers\.count: 2 with workers\.kind here.*allowed: 1, or kind processes or ray"
    ):
        WorkerSettings(count=2)


def test_ray_is_asked_for_where_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(
        ModuleNotFoundError, match=r"workers\.kind: ray, but Ray is not installed; `pip install 'vist3a\[ray\]'`"
    ):
        told([1], WorkerSettings(kind="ray"))


@with_ray
def test_a_cluster_that_is_not_there_is_told_at_once() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    code = "from vist3a.runtime.ray_cluster import connected; connected('a test', 'nothing')"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"RAY_ADDRESS": address, "PYTHONPATH": str(TESTS.parent / "src")},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert f"ConnectionError: RAY_ADDRESS is {address}, where nothing answers" in done.stderr


@with_ray
def test_a_node_that_goes_changes_nothing(tmp_path: Path) -> None:
    paths = os.pathsep.join([str(TESTS.parent / "src"), str(TESTS), str(Path(__file__).parent)])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(Path(__file__).with_name("lost_node_driver.py")), str(tmp_path)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths, "RAY_USAGE_STATS_ENABLED": "0"},
        capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads((tmp_path / "results.json").read_text()) == [n**2 for n in range(60)]
    marks = [path.name.partition("-") for path in tmp_path.glob("*-*")]
    # Both have worked; what came long after the loss is all of one.
    assert len({node for _, _, node in marks}) == 2
    assert len({node for item, _, node in marks if int(item) > 40}) == 1

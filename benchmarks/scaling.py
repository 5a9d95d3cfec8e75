"""Stages on 1, 2 and 4 workers, and what their costs make of large jobs on many.

Measured, on the tiny networks of the test suite: items per second and efficiency of every piece of work that workers do, seconds
of the whole stage (loading included), highest memory of the driver; and what an item costs the driver alone, by how many workers
it waits for.

Planned, from these: 10,000 scenes through curate and extract, 100,000 prompts through generate, on 8, 64 and 512 workers. The
plan plays the rule of ``vist3a.runtime.workers.mapping`` (one driver, outcomes in order, four items ahead per worker), with unit
costs that vary by a fifth, and says what limits: workers, driver, order, loading, or the store (bytes per second). ``--costs``
plans with other unit costs, as those of full size on a GPU: {"denoise": {"seconds": 14, "load": 40, "bytes": 8e6}, ...}.

    python benchmarks/scaling.py [--kind processes] [--out scaling.json] [--costs gpu.json] [--stages extract] [--tiny]
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY / "tests"), str(REPOSITORY / "tests" / "app" / "pipelines"), str(REPOSITORY / "src")]

import stage_project  # noqa: E402
import tiny_chain  # noqa: E402
from ten_thousand_prompts import disk, prompts  # noqa: E402

from vist3a.runtime.workers import accounts  # noqa: E402
from vist3a.runtime.workers.mapping import AHEAD  # noqa: E402
from vist3a_app.hooks.usage import Usage  # noqa: E402

WORK = {
    "curate": ["render scenes"],
    "extract": ["extract"],
    "generate": ["denoise", "decode"],
    "evaluate": ["evaluate"],
}
JOBS = {"10,000 scenes": (10_000, ("render scenes", "extract")), "100,000 prompts": (100_000, ("denoise", "decode"))}
GPUS = (8, 64, 512)
SPREAD = 0.2
# What of the time counts as a limit.
FULL = 0.9


@dataclass(frozen=True)
class Cost:
    """Of one piece of work.

    Attributes:
        seconds: A worker's, for one scene or prompt.
        load: Seconds until a worker is ready.
        bytes: Written for one.
        together: Scenes or prompts in an item.
    """

    seconds: float
    load: float
    bytes: float
    together: int = 1


@dataclass(frozen=True)
class Plan:
    """Hours of a piece of work on many workers, the share of their time that they work, and what limits."""

    hours: float
    efficiency: float
    limit: str


def plan(cost: Cost, count: int, workers: int, driver: float, store: float, seed: int = 0) -> Plan:
    """Play the rule.

    Args:
        cost: Of the piece of work.
        count: Scenes or prompts.
        workers: At work at the same time.
        driver: Seconds of the driver for an item.
        store: Bytes per second that all workers together can write.
        seed: Of the variation of the costs.

    Example:
        >>> plan(Cost(1.0, 0.0, 0.0), 80, 8, 0.0, 1e9, seed=1).limit
        'workers'
    """
    dice, items = random.Random(seed), -(-count // cost.together)
    unit = cost.seconds * cost.together
    # When the driver is free, when workers are; items that are done and wait for their turn.
    clock, free = 0.0, [(cost.load, worker) for worker in range(min(workers, items))]
    heapq.heapify(free)
    ends: list[float] = []
    turn_ends, held, turn, busy, waited = 0.0, {}, 0, 0.0, 0.0
    for number in range(items):
        begin, worker = heapq.heappop(free)
        # No further ahead of the oldest that is not done than the rule allows.
        while turn <= number - AHEAD * workers:
            turn_ends = max(turn_ends, held.pop(turn))
            turn += 1
        waited += max(0.0, turn_ends - begin)
        clock = max(clock, begin, turn_ends) + driver
        duration = unit * dice.lognormvariate(-(SPREAD**2) / 2, SPREAD)
        busy += duration
        held[number] = clock + duration
        ends.append(clock + duration)
        heapq.heappush(free, (clock + duration, worker))
    total = max(ends)
    written = count * cost.bytes / store
    # What a job would take if one thing alone counted.
    shares = {
        "workers": busy / workers / total,
        "driver": items * driver / total,
        "store": written / total,
        "loading": cost.load / total,
        "order": waited / workers / total,
    }
    if written > total:
        return Plan(written / 3600, busy / workers / written, "store")
    limit = (
        "workers" if shares["workers"] > FULL else max((n for n in shares if n != "workers"), key=lambda n: shares[n])
    )
    return Plan(total / 3600, shares["workers"], limit)


def measure(root: Path, values: dict[str, Any], stage: str, kind: str, count: int) -> dict[str, Any]:
    """A stage, made anew by so many workers."""
    stage_project.forget(root, stage)
    told: dict[str, Sequence[accounts.Account]] = {}
    usage, begun = Usage(), time.monotonic()
    with accounts.listening(lambda title, found: told.update({title: list(found)})):
        tiny_chain.run(root, stage, {**values, "workers": {"kind": kind, "count": count}})
    seconds, spent = time.monotonic() - begun, usage.stop()
    work = {}
    for title in WORK[stage]:
        items, at_work = sum(one.items for one in told[title]), sum(one.seconds for one in told[title])
        work[title] = {"items": items, "seconds": at_work, "per_second": items * count / at_work}
    return {"seconds": seconds, "driver_mib": spent["peak_memory_mib"], "work": work}


def _nothing() -> None:
    """What costs the worker nothing."""


def driver_seconds(waiting: int, calls: int) -> float:
    """What the driver spends on an item of Ray's while it waits for so many workers; 0 where Ray is not installed."""
    if find_spec("ray") is None:
        return 0.0
    from vist3a.runtime.ray_cluster import connected

    ray = connected("benchmarks/scaling.py", "--kind processes")
    # Nobody has this: they wait, as items at work do.
    absent = ray.remote(num_cpus=0, resources={"absent": 1})(_nothing)
    present = ray.remote(num_cpus=0)(_nothing)
    pending = [absent.remote() for _ in range(waiting - 1)]
    ray.get(present.remote())
    begun = time.process_time()
    for _ in range(calls):
        mine = present.remote()
        (found,), _ = ray.wait([*pending, mine], num_returns=1)
        ray.get(found)
    spent = time.process_time() - begun
    for one in pending:
        ray.cancel(one)
    return spent / calls


def sized(values: dict[str, Any], tiny: bool, root: Path) -> dict[str, Any]:
    """Enough items that every worker has some."""
    scenes, count = (12, 4) if tiny else (96, 48)
    values["curate"] = {**tiny_chain.SIZES, "procedural": {"scenes": scenes}}
    values["evaluate"] |= {"prompts": count, "batch": 2}
    values["generate"] |= {"viewer": False}
    (root / "prompts.txt").write_text("\n".join(prompts(count)) + "\n")
    return values


def main() -> int:
    """Measure, plan, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=["processes", "ray"], default="processes")
    parser.add_argument("--store", type=float, default=1e9, help="bytes per second that the shared folder takes")
    parser.add_argument("--costs", type=Path, help="unit costs to plan with, in place of those measured here")
    parser.add_argument("--stages", nargs="+", choices=sorted(WORK), default=list(WORK))
    parser.add_argument("--tiny", action="store_true", help="few items, 1 and 2 workers")
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    out = None if chosen.out is None else chosen.out.absolute()
    given = None if chosen.costs is None else json.loads(chosen.costs.read_text())
    numbers = (1, 2) if chosen.tiny else (1, 2, 4)
    with tempfile.TemporaryDirectory(prefix="scaling-") as folder:
        root = Path(folder)
        os.chdir(root)  # paths of the catalog start there
        needed = {"generate", "evaluate"} & set(chosen.stages)
        values = sized(stage_project.create(root, stage_project.BEFORE if needed else ()), chosen.tiny, root)
        tiny_chain.run(root, "curate", values)
        measured = {
            stage: {n: measure(root, values, stage, chosen.kind, n) for n in numbers} for stage in chosen.stages
        }
        together = {"render scenes": 4, "extract": 2, "denoise": 1, "decode": 1, "evaluate": 2}
        size = {
            "render scenes": disk(root / "data/03_primary"), "extract": 0, "denoise": 0,
            "decode": disk(root / stage_project.RESULTS[2]), "evaluate": 0,
        }  # fmt: skip
        os.chdir(REPOSITORY)
    costs = {}
    for stage, runs in measured.items():
        alone = runs[1]
        load = (alone["seconds"] - sum(work["seconds"] for work in alone["work"].values())) / len(alone["work"])
        for title, work in alone["work"].items():
            units = work["items"] * together[title]
            costs[title] = Cost(work["seconds"] / units, max(0.0, load), size[title] / units, together[title])
        for work_of in WORK[stage]:
            for n in numbers:
                row = runs[n]["work"][work_of]
                row["efficiency"] = row["per_second"] / n / alone["work"][work_of]["per_second"]
                print(
                    f"{work_of:14} {n} workers: {row['per_second'] * together[work_of]:8.3g} per second at work, efficiency "
                    f"{row['efficiency']:.2f}; whole stage {runs[n]['seconds']:.1f} s, driver {runs[n]['driver_mib']:.0f} MiB"
                )
    if given is not None:
        costs = {title: Cost(**given[title]) for title in given}
    driver = {n: driver_seconds(n, 20 if chosen.tiny else 200) for n in GPUS}
    plans: dict[str, dict[str, dict[int, Any]]] = {}
    for job, (count, titles) in JOBS.items():
        for title in (title for title in titles if title in costs):
            rows = plans.setdefault(job, {}).setdefault(title, {})
            for gpus in GPUS:
                found = plan(costs[title], count // 100 if chosen.tiny else count, gpus, driver[gpus], chosen.store)
                rows[gpus] = vars(found)
                figures = f"{found.hours:8.3g} h, efficiency {found.efficiency:.2f}, limit: {found.limit}"
                print(f"{job}, {title:13} on {gpus:3}: {figures}")
    result = {
        "kind": chosen.kind,
        "stages": measured,
        "costs": {title: vars(cost) for title, cost in costs.items()},
        "driver_seconds_per_item": driver,
        "plans": plans,
    }
    if out is not None:
        out.write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

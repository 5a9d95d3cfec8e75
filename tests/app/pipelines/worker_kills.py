"""Kills workers and drivers at random moments, and compares what the stages leave with what one process leaves.

``python tests/app/pipelines/worker_kills.py --kills 20`` kills so often per stage and kind of workers: one worker, or the driver,
which is started again. Prints a row per kill and per stage; ends with 1 if a file differs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
TESTS = HERE.parents[1]
sys.path[:0] = [str(HERE), str(TESTS), str(TESTS.parent / "src")]

import psutil  # noqa: E402
import stage_project  # noqa: E402
import tiny_chain  # noqa: E402

LIMIT = 900.0


def start(root: Path, stage: str, values: Path) -> subprocess.Popen[bytes]:
    """The driver of a stage, in a process of its own."""
    paths = os.pathsep.join([str(TESTS.parent / "src"), str(TESTS)])
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", str(HERE / "stage_driver.py"), str(root), stage, str(values)],
        cwd=root, env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def ended(driver: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether a driver ends well within some time; SystemExit where it ends badly."""
    try:
        status = driver.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    if status != 0:
        raise SystemExit(f"a driver ended with {status}")
    return True


def kill_one(driver: subprocess.Popen[bytes], kind: str, dice: random.Random) -> str:
    """Kill a worker or the driver, whichever chance says; who it was, empty for none."""
    workers = stage_project.workers_of(kind, driver.pid)
    if workers and dice.random() < 2 / 3:
        try:
            dice.choice(workers).send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            return ""
        return "worker"
    everything = psutil.Process(driver.pid).children(recursive=True)
    driver.kill()
    driver.wait()
    _, alive = psutil.wait_procs(everything, timeout=60)
    if alive:
        raise SystemExit(f"{alive} outlive their driver")
    return "driver"


def kill(root: Path, stage: str, values: Path, kind: str, kills: int, dice: random.Random, seconds: float) -> int:
    """Runs of a stage with ``kills`` kills in all; the number of runs that ended, each with the files of one process."""
    expected, runs, done = stage_project.results(root, stage), 0, 0
    stage_project.forget(root, stage)
    driver, running = start(root, stage, values), True
    while running:
        # Anywhere: while Python starts, while networks load, at work, while files are written.
        if not ended(driver, dice.uniform(0.02, 1.0) * seconds if done < kills else LIMIT):
            victim = kill_one(driver, kind, dice)
            if victim:
                done += 1
                state = len(stage_project.kept(root))
                sys.stdout.write(f"kill | {stage:8} | {kind:9} | {victim:6} | {state:3} files kept\n")
                sys.stdout.flush()
            if victim == "driver":
                driver = start(root, stage, values)
            continue
        if differing := stage_project.differing(stage_project.results(root, stage), expected):
            raise SystemExit(f"{stage}: {', '.join(differing)} differ")
        runs, running = runs + 1, done < kills
        if running:
            stage_project.forget(root, stage)
            driver = start(root, stage, values)
    sys.stdout.write(f"done | {stage:8} | {kind:9} | {done} kills, {runs} runs, 0 differences\n")
    sys.stdout.flush()
    return runs


def main() -> None:
    """All stages with all kinds of workers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="for each stage and kind")
    parser.add_argument("--kinds", nargs="+", choices=sorted(stage_project.WORKERS), default=["processes", "ray"])
    parser.add_argument("--stages", nargs="+", choices=stage_project.STAGES, default=stage_project.STAGES)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    dice = random.Random(chosen.seed)
    with tempfile.TemporaryDirectory(prefix="worker-kills-") as folder:
        root, values = Path(folder, "project"), Path(folder, "values.json")
        root.mkdir()
        os.chdir(root)
        given: dict[str, Any] = stage_project.create(root)
        for kind in chosen.kinds:
            values.write_text(json.dumps({**given, "workers": {"kind": kind, "count": chosen.workers}}))
            for stage in chosen.stages:
                stage_project.forget(root, stage)
                # By one process first: what is expected. Then by workers, for the time that it takes.
                tiny_chain.run(root, stage, given)
                expected = stage_project.results(root, stage)
                stage_project.forget(root, stage)
                begun = time.monotonic()
                if not ended(start(root, stage, values), LIMIT):
                    raise SystemExit(f"{stage} takes more than {LIMIT:.0f} s")
                seconds = time.monotonic() - begun
                if differing := stage_project.differing(stage_project.results(root, stage), expected):
                    raise SystemExit(f"{stage}: {', '.join(differing)} differ without any kill")
                kill(root, stage, values, kind, chosen.kills, dice, seconds)
        os.chdir(folder)


if __name__ == "__main__":
    main()

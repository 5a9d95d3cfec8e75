"""``chain_kill_driver.py FOLDER SEED KILLS PIPELINE... -- ARGUMENTS``: every pipeline killed KILLS times at random moments.

FOLDER holds equal projects: ``whole`` is run undisturbed, ``killed`` is killed, by SIGKILL and by SIGTERM in turns, and then
finishes. After every kill each file under its final name must be the one of the undisturbed run. Prints a line per kill:
pipeline, signal, after how many seconds, what the process ended with, runs in the record by status.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

# Imported here, so that the forked processes start with the work at once.
import mlflow  # noqa: F401
from align_kill_driver import finish, start

from vist3a.runtime.checkpoint import load_checkpoint

SIGNALS = (signal.SIGKILL, signal.SIGTERM)
# State of an unfinished run, which the next one takes up.
STATE = ("data/06_models/checkpoints", "data/.run.lock")


def results(project: Path) -> Iterator[str]:
    """Files under final names, but for the state of unfinished runs."""
    for path in sorted((project / "data").rglob("*")):
        name = str(path.relative_to(project))
        if path.is_file() and not unfinished(path, project) and not name.startswith(STATE):
            yield name


def unfinished(path: Path, project: Path) -> bool:
    """Whether a name, or that of a folder above it, says that something is being written; other dot files are nobody's."""
    return any(part.startswith(".") and part != ".run.lock" for part in path.relative_to(project).parts)


def content(project: Path, name: str) -> bytes:
    """Of a file, without where the projects are: both use the networks of the first, and files say which."""
    found = (project / name).read_bytes()
    for one in ("whole", "killed"):
        found = found.replace(str(project.parent / one).encode(), b"")
    return found


def check(project: Path, whole: Path, pipeline: str) -> None:
    """Nothing half-written stands under a final name."""
    import torch

    for name in results(project):
        if content(project, name) != content(whole, name):
            raise SystemExit(f"{pipeline}: {name} is not that of the undisturbed run")
    for path in (project / STATE[0]).rglob("*.pt"):
        if not unfinished(path, project):
            load_checkpoint(path, torch.device("cpu"))


def statuses(project: Path) -> Counter[str]:
    """Runs in the record by status."""
    if not (project / "mlflow.db").is_file():
        return Counter()
    with sqlite3.connect(project / "mlflow.db", timeout=60) as database:
        tables = {name for (name,) in database.execute("select name from sqlite_master")}
        return Counter(s for (s,) in database.execute("select status from runs")) if "runs" in tables else Counter()


def kill(project: Path, arguments: Sequence[str], number: signal.Signals, after: float) -> str:
    """Start, kill; what the process ended with."""
    pid = start(project, arguments)
    time.sleep(after)
    os.kill(pid, number)
    status = os.waitpid(pid, 0)[1]
    return signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else str(os.WEXITSTATUS(status))


def main() -> None:
    """All pipelines in their order."""
    root, dice, kills = Path(sys.argv[1]), random.Random(int(sys.argv[2])), int(sys.argv[3])
    split = sys.argv.index("--")
    pipelines, arguments = sys.argv[4:split], sys.argv[split + 1 :]
    whole, killed = root / "whole", root / "killed"
    finish(
        start(whole, [f"--pipelines={pipelines[0]}", *arguments])
    )  # which sets up its record, and takes longer by that
    for pipeline in pipelines:
        own = [f"--pipelines={pipeline}", *arguments]
        begun = time.monotonic()
        finish(start(whole, own))
        seconds = time.monotonic() - begun
        for turn in range(kills):
            number, after = SIGNALS[turn % 2], dice.uniform(0.05, 1) * seconds
            before = statuses(killed)
            ended = kill(killed, own, number, after)
            check(killed, whole, pipeline)
            found = statuses(killed)
            # Who could say so has said so; the one before, who could not, is known by now.
            if number == signal.SIGTERM and found.total() > before.total() and found["RUNNING"]:
                raise SystemExit(f"{pipeline}: a run that SIGTERM ended is recorded as running")
            record = ", ".join(f"{status} {count}" for status, count in sorted(found.items()))
            sys.stdout.write(f"kill | {pipeline:8} | {number.name} | {after:5.1f} s | {ended:7} | {record}\n")
            sys.stdout.flush()
        finish(start(killed, own))
        check(killed, whole, pipeline)
        missing = set(results(whole)) - set(results(killed))
        left = [str(p) for p in (killed / "data").rglob(".*") if p.is_dir() or p.name.startswith(".tmp")]
        running = statuses(killed)["RUNNING"]
        if missing or left or running:
            raise SystemExit(f"{pipeline}: missing {sorted(missing)}, left {left}, recorded as running {running}")
        sys.stdout.write(f"done | {pipeline} | {len(set(results(whole)))} files equal\n")


if __name__ == "__main__":
    main()

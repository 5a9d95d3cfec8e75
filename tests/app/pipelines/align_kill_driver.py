"""``align_kill_driver.py FOLDER SEED ARGUMENTS``: ``kedro run ARGUMENTS`` in processes of their own, some of them killed.

FOLDER holds equal projects. ``whole`` is run undisturbed, and so is ``twin`` where it is there; ``killed`` is killed twice at
random moments of its training and started again. Prints a line per kill with the number of logged steps.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

# Imported here, so that the forked processes start with the work at once.
import transformers.models.umt5.modeling_umt5  # noqa: F401

from vist3a_app import __main__ as program


def start(project: Path, arguments: Sequence[str]) -> int:
    """A process that runs the project; its number."""
    pid = os.fork()
    if pid == 0:
        os.chdir(project)
        sys.argv = ["vist3a", *arguments]
        try:
            program.main()
        except SystemExit as end:
            os._exit(int(end.code or 0))
        except BaseException as error:
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)
    return pid


def finish(pid: int) -> None:
    """Wait for a process to end well."""
    if os.waitpid(pid, 0)[1] != 0:
        raise SystemExit("align failed")


def logged(project: Path) -> int:
    """The newest logged step."""
    steps = [int(step) for file in project.rglob("align-*/history.json") for step in json.loads(file.read_text())]
    return max(steps, default=0)


def main() -> None:
    """Undisturbed runs, and beside them two killed ones and one that finishes what they left."""
    root, dice, arguments = Path(sys.argv[1]), random.Random(int(sys.argv[2])), sys.argv[3:]
    undisturbed = [start(root / name, arguments) for name in ("whole", "twin") if (root / name).is_dir()]
    project = root / "killed"
    for _ in range(2):
        pid, wanted = start(project, arguments), logged(project) + dice.randint(1, 3)
        while logged(project) < wanted:
            time.sleep(0.002)
        # Anywhere within a step, or while something is written.
        time.sleep(dice.uniform(0, 0.2))
        os.kill(pid, signal.SIGKILL)
        status = os.waitpid(pid, 0)[1]
        sys.stdout.write(f"{'killed' if os.WIFSIGNALED(status) else 'finished'} {logged(project)}\n")
    finish(start(project, arguments))
    for pid in undisturbed:
        finish(pid)


if __name__ == "__main__":
    main()

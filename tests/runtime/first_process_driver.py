"""``first_process_driver.py PORT HOW``: two processes take turns, of which the first fails (HOW ``fails``) or not (``works``).

Prints a line of JSON per process: its rank, and what it ended with.
"""

from __future__ import annotations

import json
import os
import sys

import torch

from vist3a.runtime.processes import first_one_first, joined


def turn(how: str) -> str:
    """What this process's turn ends with."""
    try:
        with joined(torch.device("cpu")) as processes, first_one_first(processes):
            if how == "fails" and processes.first:
                raise ValueError("of the first process")
    except (ValueError, RuntimeError) as error:
        return f"{type(error).__name__}: {error}"
    return "well"


def main() -> None:
    """Two processes with what torchrun would have told them."""
    port, how = sys.argv[1:]
    pids = []
    for rank in range(2):
        pids.append(os.fork())
        if pids[-1] == 0:
            told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            os.environ.update({key: str(value) for key, value in told.items()})
            os.write(1, (json.dumps([rank, turn(how)]) + "\n").encode())
            os._exit(0)
    for pid in pids:
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main()

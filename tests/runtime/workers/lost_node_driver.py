"""``lost_node_driver.py FOLDER``: two workers on two nodes of a Ray cluster, of which one goes in the middle."""

from __future__ import annotations

import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import lost_node_driver
import ray
from ray.cluster_utils import Cluster

from vist3a.runtime.workers.mapping import mapped
from vist3a.runtime.workers.settings import WorkerSettings
from vist3a.runtime.workers.work import Done, Finished

BESIDE = {"object_store_memory": 80 * 2**20}


def slow_squares(folder: Path) -> Any:
    """Squares, a tenth of a second each; FOLDER tells which node did which."""

    def work(item: int, done: Done) -> int:
        time.sleep(0.1)
        node = ray.get_runtime_context().get_node_id()
        (folder / f"{item}-{node}").touch()
        return item**2

    return work


def main() -> None:
    """The cluster, the work, and the loss after a third of it."""
    folder = Path(sys.argv[1])
    cluster = Cluster(initialize_head=True, connect=True, head_node_args={"num_cpus": 1, **BESIDE})
    lost = cluster.add_node(num_cpus=1, **BESIDE)
    load: Any = partial(lost_node_driver.slow_squares, folder)
    results = []
    for outcome in mapped(load, list(range(60)), WorkerSettings(kind="ray", count=2)):
        results.append(outcome.value if isinstance(outcome, Finished) else outcome.reason)
        if len(results) == 20:
            cluster.remove_node(lost, allow_graceful=False)
    # Not to standard output, where Ray tells of the loss.
    (folder / "results.json").write_text(json.dumps(results))
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main()

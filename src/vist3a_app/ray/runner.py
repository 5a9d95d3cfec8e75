"""A Kedro runner whose nodes are tasks of a Ray cluster; hooks, and with them the record, stay in this process."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from kedro.io import AbstractDataset, DatasetError, MemoryDataset
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node
from kedro.runner import AbstractRunner
from kedro.runner.task import Task

from vist3a.runtime.numerics import Numerics
from vist3a.runtime.ray_cluster import connected
from vist3a.runtime.workers import accounts
from vist3a.weights.public import add_licences
from vist3a_app.ray.node_task import Ended, Mailbox, NodeTask, run_node

GPU = "gpu"
"""Tag of nodes that have a GPU of their own, where the cluster has any."""
LOOK_SECONDS = 0.5


class RayRunner(AbstractRunner):
    """Nodes run where there is room; the cluster is the one that ``RAY_ADDRESS`` names, else one of this machine.

    A node gets its inputs from this process (settings, small tables, places of folders) and writes its outputs itself, so all
    machines see the project's folder under one name. A node whose process or machine dies is run again, three times.

    Raises:
        ModuleNotFoundError: Ray is not installed.
        ValueError: Workers are to be Ray's, too: a node would hold the room that its own workers wait for.

    Example:
        >>> RayRunner().run(pipelines["evaluate"], catalog)
        {'evaluate_report': JsonReport(...), 'evaluate_sheet': PngImage(...)}
    """

    def _run(self, pipeline: Pipeline, catalog: Any, hook_manager: Any = None, run_id: str | None = None) -> None:
        workers = "params:workers"
        if workers in pipeline.inputs() and catalog.load(workers).kind == "ray":
            raise ValueError(
                "workers.kind: ray with RayRunner: a node would wait for the room that it takes itself; allowed: here or "
                "processes, or another runner"
            )
        super()._run(pipeline, catalog, hook_manager, run_id)

    def _get_required_workers_count(self, pipeline: Pipeline) -> int:
        # All that are ready: it is the cluster that has them wait.
        return max(1, len(pipeline.nodes))

    def _get_executor(self, max_workers: int) -> Executor:
        return _RayExecutor(max_workers)


class _RayExecutor(ThreadPoolExecutor):
    """A thread for every node that is at work elsewhere."""

    def __init__(self, max_workers: int) -> None:
        super().__init__(max_workers)
        self._ray = connected("RayRunner", "--runner=SequentialRunner")
        self._has_gpus = self._ray.cluster_resources().get("GPU", 0) > 0
        self._mailbox = self._ray.remote(num_cpus=0)(Mailbox).remote()
        self._reading, self._stopped = threading.Lock(), threading.Event()
        self._about = (Numerics.of_this_process(), Path.cwd(), list(sys.path))

    def submit(self, task: Task, /) -> Future[Node]:  # type: ignore[override]
        """What Kedro calls for every node that is ready."""
        return super().submit(self._execute, task)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        # Ctrl-C, or another node's error: nobody waits for the others any more.
        if kind is not None:
            self._stopped.set()
        super().__exit__(kind, error, traceback)
        self._read_mail()
        self._ray.kill(self._mailbox)
        return None

    def _execute(self, task: Task) -> Node:
        """As Kedro's own tasks, with the work and the saving elsewhere."""
        node, catalog, hook = task.node, task.catalog, task.hook_manager.hook  # type: ignore[union-attr]
        inputs = {}
        for name in node.inputs:
            hook.before_dataset_loaded(dataset_name=name, node=node)
            inputs[name] = catalog.load(name)
            hook.after_dataset_loaded(dataset_name=name, data=inputs[name], node=node)
        about = {"node": node, "catalog": catalog, "inputs": inputs, "is_async": False, "run_id": task.run_id}
        for changed in hook.before_node_run(**about) or ():
            inputs.update(changed or {})
        places: dict[str, AbstractDataset[Any, Any]] = {name: catalog[name] for name in node.outputs}
        stored = {name: place for name, place in places.items() if not isinstance(place, MemoryDataset)}
        ended = self._elsewhere(NodeTask(node, inputs, stored, *self._about, _package()), node)
        accounts.tell(f"node {node.name}", [ended.account])
        add_licences(ended.licences)
        if ended.error is not None:
            hook.on_node_error(error=ended.error, **about)
            raise ended.error
        outputs = {name: ended.kept[name] if name in ended.kept else _seen(stored[name]) for name in node.outputs}
        hook.after_node_run(outputs=outputs, **about)
        for name, data in outputs.items():
            hook.before_dataset_saved(dataset_name=name, data=data, node=node)
            if name not in stored:
                catalog.save(name, data)
            hook.after_dataset_saved(dataset_name=name, data=data, node=node)
        return node

    def _elsewhere(self, task: NodeTask, node: Node) -> Ended:
        gpus = int(self._has_gpus and GPU in node.tags)
        call = self._ray.remote(num_cpus=1, num_gpus=gpus, max_retries=3)(run_node)
        pending = call.remote(task, self._mailbox)
        found: list[Any] = []
        while not found:
            found, _ = self._ray.wait([pending], timeout=LOOK_SECONDS)
            self._read_mail()
            if self._stopped.is_set():
                self._ray.cancel(pending, force=True)
                raise InterruptedError(f"node {node.name} was stopped, as the run has ended")
        ended: Ended = self._ray.get(pending)
        return ended

    def _read_mail(self) -> None:
        # The actor goes with its machine: then curves are lost, and no result.
        with self._reading, suppress(self._ray.exceptions.RayError):
            for tell, said in self._ray.get(self._mailbox.take.remote()):
                tell(*said)


def _package() -> str | None:
    from kedro.framework.project import PACKAGE_NAME

    return PACKAGE_NAME


def _seen(dataset: AbstractDataset[Any, Any]) -> Any:
    """What a node has saved, as it is loaded again; None where it can only be saved."""
    try:
        return dataset.load()
    except DatasetError:
        return None

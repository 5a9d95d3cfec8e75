"""What a process of the cluster does: one node of a pipeline, whose results it writes itself."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset
from kedro.pipeline.node import Node

from vist3a.runtime import picture_log, step_log
from vist3a.runtime.numerics import Numerics
from vist3a.runtime.ray_cluster import enter
from vist3a.runtime.workers import accounts
from vist3a.runtime.workers.accounts import Account, Place
from vist3a.runtime.workers.work import portable
from vist3a.weights.public import forget_licences, licences_used


@dataclass(frozen=True)
class NodeTask:
    """A node, and all that a process elsewhere needs for it.

    Attributes:
        node: The node.
        inputs: Their values: settings, tables, places.
        stored: By name, the outputs that lie in files.
        numerics: How the first process computes.
        folder: Where the run was started.
        modules: Where Python looks for modules.
        project: Name of Kedro's package, for its logging.
    """

    node: Node
    inputs: Mapping[str, Any]
    stored: Mapping[str, AbstractDataset[Any, Any]]
    numerics: Numerics
    folder: Path
    modules: list[str]
    project: str | None


@dataclass(frozen=True)
class Ended:
    """How a node ended.

    Attributes:
        account: Where, and how long it took.
        kept: Outputs that lie in no file.
        licences: Of the weights that it loaded.
        error: Why there are none.
    """

    account: Account
    kept: Mapping[str, Any] = field(default_factory=dict)
    licences: Mapping[str, str] = field(default_factory=dict)
    error: Exception | None = None


class Mailbox:
    """An actor that passes on what processes of the cluster tell of their progress."""

    def __init__(self) -> None:
        self._letters: list[Any] = []

    def put(self, letter: Any) -> None:
        """A function and what the first process calls it with."""
        self._letters.append(letter)

    def take(self) -> list[Any]:
        """What has come since the last time."""
        letters, self._letters = self._letters, []
        return letters


def run_node(task: NodeTask, mailbox: Any) -> Ended:
    """Run the node and write what lies in files."""
    begun, account = time.monotonic(), Account(Place.here())
    try:
        enter(task.folder, task.modules)
        if task.project is not None:
            from kedro.framework.project import configure_project

            configure_project(task.project)
        task.numerics.put_up()
        # A process of the cluster may have run another node before.
        forget_licences()
        with _passed_on(mailbox):
            outputs = task.node.run(dict(task.inputs))
            kept = {}
            for name, data in outputs.items():
                if name in task.stored:
                    task.stored[name].save(data)
                else:
                    kept[name] = data
    except Exception as error:
        account.failed, account.seconds = 1, time.monotonic() - begun
        return Ended(account, licences=licences_used(), error=portable(error))
    account.items, account.seconds = 1, time.monotonic() - begun
    return Ended(account, kept, licences_used())


@contextmanager
def _passed_on(mailbox: Any) -> Iterator[None]:
    """Curves, pictures and accounts of this process go to the first one."""
    import ray

    last: list[Any] = []

    def put(tell: Any) -> Any:
        def sink(*said: Any) -> None:
            last[:] = [mailbox.put.remote((tell, said))]

        return sink

    with ExitStack() as stack:
        for add, remove, tell in (
            (step_log.add_sink, step_log.remove_sink, step_log.tell),
            (picture_log.add_picture_sink, picture_log.remove_picture_sink, picture_log.tell_picture),
            (accounts.add_sink, accounts.remove_sink, accounts.tell),
        ):
            sink = put(tell)
            add(sink)
            stack.callback(remove, sink)
        yield
    # In the order of this process: with the last letter all are there.
    if last:
        ray.get(last[0])

"""Where the work of a stage is done, and by how many."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vist3a.runtime.bounds import NotNegative, Positive

Kind = Literal["here", "processes", "ray"]


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """Which workers do the work; no result depends on it.

    Attributes:
        kind: ``here`` (this process), ``processes`` (of this machine), or ``ray`` (actors of the Ray cluster that the
            variable RAY_ADDRESS names, else of one that is started on this machine for the run).
        count: Workers at most; each loads the networks. On GPUs every worker takes one, in turns where there are fewer.
        attempts: Workers that may die over one item, or while they load, before it is given up.
        cpus: Cores that Ray reserves for a worker.

    Raises:
        ValueError: Several workers in one process.

    Example:
        >>> WorkerSettings(kind="processes", count=2)
        WorkerSettings(kind='processes', count=2, attempts=3, cpus=1.0)
    """

    kind: Kind = "here"
    count: Positive = 1
    attempts: Positive = 3
    cpus: NotNegative = 1.0

    def __post_init__(self) -> None:
        if self.kind == "here" and self.count > 1:
            raise ValueError(
                f"workers.count: {self.count} with workers.kind here, which is this one process; allowed: 1, or kind processes "
                "or ray"
            )


HERE = WorkerSettings()

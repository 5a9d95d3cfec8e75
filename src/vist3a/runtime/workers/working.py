"""A piece of work in the open: under a progress bar, with an account of who did what at its end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

from vist3a.runtime.progress import counting
from vist3a.runtime.workers.mapping import mapped
from vist3a.runtime.workers.settings import WorkerSettings
from vist3a.runtime.workers.work import Item, Load, Outcome, Result


@contextmanager
def working(
    title: str,
    load: Load[Item, Result],
    items: Sequence[Item],
    settings: WorkerSettings,
    *,
    total: int,
    before: int = 0,
    cuda: bool = False,
) -> Iterator[Iterator[tuple[Item, Outcome[Result]]]]:
    """Every item with what comes of it, in their order (see :func:`vist3a.runtime.workers.mapping.mapped`).

    The workers end with the block, however it ends.

    Args:
        title: Of the bar and of the account.
        load: Loads what the work needs.
        items: What is to be done.
        settings: Which workers.
        total: Units of progress in all.
        before: Units that an earlier run has done.
        cuda: Whether every worker needs a GPU.

    Example:
        >>> load = lambda: lambda item, done: item**2
        >>> with working("square", load, [1, 2], WorkerSettings(), total=2) as outcomes:
        ...     [(item, outcome.value) for item, outcome in outcomes]
        [(1, 1), (2, 4)]
    """
    with (
        counting(title, total, before) as done,
        closing(mapped(load, items, settings, title=title, done=done, cuda=cuda)) as outcomes,
    ):
        yield zip(items, outcomes, strict=True)

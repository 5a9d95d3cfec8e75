"""Items through workers, with their outcomes in the order of the items.

Who takes which item, and when, is chance; what comes of an item is not, and it is handed out in the order of the items. So a
sum over outcomes has the same bits for any number of workers of any kind.
"""

from __future__ import annotations

import heapq
import logging
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing

from vist3a.runtime.atomic import DiskFullError
from vist3a.runtime.workers.accounts import Place, Roll, tell
from vist3a.runtime.workers.crew import Crew
from vist3a.runtime.workers.local import LocalCrew
from vist3a.runtime.workers.ray_actors import RayCrew
from vist3a.runtime.workers.settings import HERE, WorkerSettings
from vist3a.runtime.workers.work import (
    Died,
    Done,
    Failed,
    Finished,
    Item,
    Load,
    Outcome,
    Ready,
    Result,
    Unready,
    WorkerDiedError,
)

logger = logging.getLogger(__name__)

AHEAD = 4
"""Items per worker that are at work or done before their turn: bounds what waits in memory."""


def mapped(
    load: Load[Item, Result],
    items: Sequence[Item],
    settings: WorkerSettings = HERE,
    *,
    title: str = "work",
    done: Done = lambda _: None,
    cuda: bool = False,
) -> Generator[Outcome[Result]]:
    """What comes of every item, in their order.

    An item that raises is :class:`Failed` and costs no other. One whose worker dies is given to another, ``settings.attempts``
    times in all; then it has failed, too. Nothing is loaded where there is no item. Whoever stops before the last outcome closes
    the iterator (``contextlib.closing``), which ends the workers.

    Args:
        load: Loads what the work needs: once here, or once in every worker.
        items: Small things that say what to do; large ones lie in files.
        settings: Which workers.
        title: What the account of it is called (see :mod:`vist3a.runtime.workers.accounts`).
        done: Told of progress, in the units that the work counts.
        cuda: Whether every worker needs a GPU.

    Raises:
        WorkerDiedError: Workers die while they load.
        DiskFullError: A worker's results do not fit: no other item would.
        Exception: What ``load`` raises, which concerns all items.

    Example:
        >>> [outcome.value for outcome in mapped(lambda: lambda item, done: item**2, [1, 2, 3])]
        [1, 4, 9]
    """
    if not items:
        return
    roll = Roll()
    outcomes = (
        _here(load, items, done, roll) if settings.kind == "here" else _by_crew(load, items, settings, done, cuda, roll)
    )
    # Closed at once, not when nobody holds an error's traceback any more: workers keep GPUs.
    try:
        with closing(outcomes):
            for outcome in outcomes:
                if isinstance(outcome, Failed) and isinstance(outcome.error, DiskFullError):
                    raise outcome.error
                yield outcome
    finally:
        tell(title, roll.accounts)


def _here(load: Load[Item, Result], items: Sequence[Item], done: Done, roll: Roll) -> Generator[Outcome[Result]]:
    work = load()
    roll.ready(0, Place.here())
    for item in items:
        roll.given(0)
        try:
            outcome: Outcome[Result] = Finished(work(item, done))
        except Exception as error:
            outcome = Failed(error)
        roll.over(0, failed=isinstance(outcome, Failed))
        yield outcome


def _by_crew(
    load: Load[Item, Result], items: Sequence[Item], settings: WorkerSettings, done: Done, cuda: bool, roll: Roll
) -> Generator[Outcome[Result]]:
    crew = LocalCrew(load) if settings.kind == "processes" else RayCrew(load, settings, cuda)
    try:
        yield from _led(crew, items, settings, done, roll)
    finally:
        crew.close()


def _led(
    crew: Crew, items: Sequence[Item], settings: WorkerSettings, done: Done, roll: Roll
) -> Iterator[Outcome[Result]]:
    count, turn = min(settings.count, len(items)), 0
    waiting = list(range(len(items)))
    idle: set[int] = set()
    busy: dict[int, int] = {}
    held: dict[int, Outcome[Result]] = {}
    # By the number of an item; by None of workers that had none, as they were loading.
    deaths: Counter[int | None] = Counter()
    for worker in range(count):
        crew.start(worker)
    while turn < len(items):
        while idle and waiting and waiting[0] < turn + AHEAD * count:
            worker = idle.pop()
            busy[worker] = heapq.heappop(waiting)
            roll.given(worker)
            crew.give(worker, items[busy[worker]])
        worker, event = crew.wait()
        match event:
            case Ready(place):
                roll.ready(worker, place)
                idle.add(worker)
                deaths[None] = 0
            case Unready(error):
                raise error
            case Finished() | Failed():
                idle.add(worker)
                roll.over(worker, failed=isinstance(event, Failed))
                held[busy.pop(worker)] = event
                done(event.units)
            case Died(how):
                roll.died(worker, how)
                idle.discard(worker)
                number = busy.pop(worker, None)
                deaths[number] += 1
                logger.warning("worker %d died (%s); another takes its place", worker, how)
                if deaths[number] < settings.attempts:
                    # Before all others, which come later in the order.
                    if number is not None:
                        heapq.heappush(waiting, number)
                elif number is None:
                    raise WorkerDiedError(f"{deaths[None]} workers died while they loaded, the last by {how}")
                else:
                    held[number] = Failed(WorkerDiedError(f"{deaths[number]} workers died over it, the last by {how}"))
                crew.start(worker)
        while turn in held:
            yield held.pop(turn)
            turn += 1

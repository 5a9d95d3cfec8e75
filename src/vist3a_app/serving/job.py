"""One scene that was asked for, and what has become of it so far."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from vist3a_app.serving.requests import Request
from vist3a_app.serving.service import FOLDER


class State(StrEnum):
    """Where a job is."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


def _running() -> Future[None]:
    future: Future[None] = Future()
    # So that whoever gives up waiting cannot cancel it, as futures would have it.
    future.set_running_or_notify_cancel()
    return future


@dataclass(eq=False)
class Job:
    """Changed by its queue alone (:mod:`vist3a_app.serving.job_queue`); it holds no tensor, so many may be remembered.

    Attributes:
        request: What was asked for, checked.
        steps: Denoising steps in all, of which ``step`` are done.
        cancelling: It ends after the step that it is at.
        message: Why it failed, in one sentence.
        status: That of HTTP for a job that failed.
        row: Its row of an answer, once it is done (:data:`vist3a_app.serving.service.COLUMNS`).
        finished: Done when it is done, failed or cancelled.
    """

    request: Request
    steps: int
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    state: State = State.WAITING
    step: int = 0
    cancelling: bool = False
    message: str = ""
    status: int = 200
    row: Mapping[str, str] = field(default_factory=dict)
    finished: Future[None] = field(default_factory=_running)

    def told(self, place: int | None) -> dict[str, str | int | bool | None]:
        """For JSON; ``place`` in the queue, 1 for the next one, None for a job that does not wait.

        Example:
            >>> Job(Request("a red ball", 3), 25).told(1)
            {'id': '5f0c...', 'prompt': 'a red ball', 'seed': 3, 'state': 'waiting', 'place': 1, 'step': 0, 'steps': 25, ...}
        """
        return {
            "id": self.id,
            "prompt": self.request.prompt,
            "seed": self.request.seed,
            "state": self.state.value,
            "place": place,
            "step": self.step,
            "steps": self.steps,
            "cancelling": self.cancelling,
            "message": self.message,
            "scene": Path(self.row[FOLDER]).name if self.row else None,
        }

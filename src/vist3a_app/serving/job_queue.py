"""Jobs in the order in which they came, and one worker that makes their scenes, one after the other."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from vist3a_app.serving.job import Job, State
from vist3a_app.serving.requests import Request
from vist3a_app.serving.service import ConflictError, FullError, MissingError, RefusedError, SceneService

FAULT = "the server failed at this request; its log says where"
LONGEST, REMEMBERED = 1000, 100
"""At most so many jobs wait, and so many are still told of after their end."""

logger = logging.getLogger(__name__)


class JobCancelledError(Exception):
    """Raised between two denoising steps of a job that is not wanted any more."""


class JobQueue:
    """Jobs by their ids. All methods may be called from any thread.

    Args:
        service: Makes the scenes.
        longest: At most so many jobs wait.
        remembered: Of the jobs that ended so many are kept, the last ones.

    Example:
        >>> queue = JobQueue(service)
        >>> with queue.working():
        ...     (job,) = queue.submit(service.read({"prompt": "a red ball"}))
        ...     job.finished.result()
        >>> job.state
        <State.DONE: 'done'>
    """

    def __init__(self, service: SceneService, longest: int = LONGEST, remembered: int = REMEMBERED) -> None:
        self._service, self._longest, self._remembered = service, longest, remembered
        self._jobs: dict[str, Job] = {}
        self._waiting: deque[Job] = deque()
        self._closing = False
        # Held to look at jobs or to change them, never while the networks work.
        self._changed = threading.Condition()

    @contextmanager
    def working(self) -> Iterator[None]:
        """Within, there is a worker. At the end jobs that wait are cancelled, and the one that runs after its next step."""
        worker = threading.Thread(target=self._work, name="scenes")
        worker.start()
        try:
            yield
        finally:
            with self._changed:
                self._closing = True
                for job in [job for job in self._jobs.values() if job.state in {State.WAITING, State.RUNNING}]:
                    self._cancel(job)
                self._changed.notify()
            worker.join()

    def submit(self, requests: Sequence[Request]) -> list[Job]:
        """One job for each request, next to each other at the end of the queue.

        Args:
            requests: Those of :meth:`SceneService.read`.

        Raises:
            FullError: Too many wait already; none was taken then.
        """
        jobs = [Job(request, self._service.steps(request)) for request in requests]
        with self._changed:
            if self._closing:
                raise FullError("the server is ending")
            if len(self._waiting) + len(jobs) > self._longest:
                raise FullError(f"{len(self._waiting)} requests wait; allowed: {self._longest}, so ask again later")
            self._jobs |= {job.id: job for job in jobs}
            self._waiting.extend(jobs)
            self._changed.notify()
        return jobs

    def told(self, ids: Sequence[str] | None = None) -> list[dict[str, str | int | bool | None]]:
        """What is to be said of jobs (None: of all), in the order in which they came.

        Raises:
            MissingError: No job has one of the ids.
        """
        with self._changed:
            places = {job.id: place for place, job in enumerate(self._waiting, 1)}
            return [self._job(id).told(places.get(id)) for id in (self._jobs if ids is None else ids)]

    def cancel(self, id: str) -> None:
        """Take a job out of the queue, or end it after the denoising step that it is at.

        Raises:
            MissingError: No job has this id.
            ConflictError: It has ended, or has no step left.
        """
        with self._changed:
            job = self._job(id)
            if job.state is not State.WAITING and (job.state is not State.RUNNING or job.step == job.steps):
                raise ConflictError(
                    f"job {id} is {job.state}, at step {job.step} of {job.steps}; allowed: one that waits or has steps left"
                )
            self._cancel(job)

    def _job(self, id: str) -> Job:
        if id not in self._jobs:
            raise MissingError(
                f"there is no job {id}; allowed: one of GET /jobs, which tells of the last {self._remembered}"
            )
        return self._jobs[id]

    def _cancel(self, job: Job) -> None:
        job.cancelling = True
        if job.state is State.WAITING:
            self._waiting.remove(job)
            self._end(job, State.CANCELLED)

    def _end(
        self, job: Job, state: State, message: str = "", status: int = 200, row: Mapping[str, str] | None = None
    ) -> None:
        with self._changed:
            job.message, job.status, job.row, job.state = message, status, row or {}, state
            ended = [id for id, other in self._jobs.items() if other.state not in {State.WAITING, State.RUNNING}]
            for id in ended[: max(0, len(ended) - self._remembered)]:
                del self._jobs[id]
        job.finished.set_result(None)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing)
                if self._closing:
                    return
                job = self._waiting.popleft()
                job.state = State.RUNNING
            self._run(job)

    def _run(self, job: Job) -> None:
        def after_step() -> None:
            with self._changed:
                job.step += 1
                if job.cancelling:
                    raise JobCancelledError

        # Of an error the sentence alone is kept: its traceback holds the tensors of every frame that it came through.
        try:
            row = self._service.make(job.request, after_step)
        except JobCancelledError:
            self._end(job, State.CANCELLED)
        except RefusedError as error:
            self._end(job, State.FAILED, str(error), error.status)
        except Exception:
            logger.exception("job %s failed", job.id)
            self._end(job, State.FAILED, FAULT, 500)
        else:
            self._end(job, State.DONE, row=row)

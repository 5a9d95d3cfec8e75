"""The queue and its worker, with real networks: order, cancelling, failures, and nothing that grows."""

from __future__ import annotations

import gc
import logging
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from served import SCENES, Content, content

from vist3a.generation.text_to_3d import TextTo3D
from vist3a_app.serving.job import Job, State
from vist3a_app.serving.job_queue import FAULT, JobQueue
from vist3a_app.serving.service import ConflictError, FullError, MissingError, SceneService

MANY_STEPS = 400


def asked(queue: JobQueue, service: SceneService, *requests: dict[str, Any]) -> list[Job]:
    return [job for request in requests for job in queue.submit(service.read(request))]


def scene(number: int, **changes: Any) -> dict[str, Any]:
    prompt, seed = SCENES[number]
    return {"prompt": prompt, "seed": seed, **changes}


def until_a_step(queue: JobQueue, job: Job) -> None:
    while job.step == 0:
        assert job.state in {State.WAITING, State.RUNNING}
        threading.Event().wait(0.01)


def folder(job: Job) -> Path:
    return Path(job.row["folder"])


def test_jobs_are_made_in_their_order_as_if_each_were_alone(service: SceneService, alone: list[Content]) -> None:
    queue = JobQueue(service)
    jobs = asked(queue, service, *(scene(number) for number in range(5)))
    assert [one["place"] for one in queue.told()] == [1, 2, 3, 4, 5]
    queue.cancel(jobs[1].id)
    assert [(one["state"], one["place"]) for one in queue.told()] == [
        ("waiting", 1), ("cancelled", None), ("waiting", 2), ("waiting", 3), ("waiting", 4),
    ]  # fmt: skip
    ended: list[int] = []
    for number, job in enumerate(jobs[2:] + jobs[:1]):
        job.finished.add_done_callback(lambda _, number=number: ended.append(number))
    with queue.working():
        for job in jobs:
            job.finished.result()
    assert ended == [3, 0, 1, 2], "jobs 0, 2, 3, 4"
    for number in (0, 2, 3, 4):
        assert content(folder(jobs[number])) == alone[number]
        told = queue.told([jobs[number].id])[0]
        assert (told["state"], told["step"], told["steps"], told["scene"]) == ("done", 2, 2, folder(jobs[number]).name)
    assert len(list(folder(jobs[0]).parent.iterdir())) == 4, "of the cancelled one nothing was written"


def test_it_is_the_scene_of_the_command(service: SceneService, by_command: Content) -> None:
    queue = JobQueue(service)
    (job,) = asked(queue, service, scene(0))
    with queue.working():
        job.finished.result()
    assert content(folder(job)) == by_command


def test_one_that_runs_ends_between_two_steps(service: SceneService, alone: list[Content], tmp_path: Path) -> None:
    """And the next scene is as if it had never been."""
    queue = JobQueue(service)
    with queue.working():
        long, short = asked(queue, service, scene(1, steps=MANY_STEPS), scene(0))
        until_a_step(queue, long)
        # Prompts are checked meanwhile, by the tokenizer that is in use.
        service.read({"prompt": ["a ball", "a cube"]})
        assert queue.told([long.id])[0]["state"] == "running"
        queue.cancel(long.id)
        long.finished.result()
        assert (long.state, long.row) == (State.CANCELLED, {}) and 0 < long.step < MANY_STEPS
        short.finished.result()
    assert content(folder(short)) == alone[0]
    assert [path.name for path in (tmp_path / "scenes").iterdir()] == [folder(short).name]


def test_what_cannot_be_written_fails_with_a_sentence(text_to_3d: TextTo3D, tmp_path: Path) -> None:
    service = SceneService(text_to_3d, tmp_path / "scenes")
    (tmp_path / "scenes").touch()
    queue = JobQueue(service)
    with queue.working():
        (job,) = asked(queue, service, scene(0))
        job.finished.result()
        assert (job.state, job.status) == (State.FAILED, 500)
        assert job.message.startswith(f"the scene cannot be written to {tmp_path / 'scenes'}: ")
        (tmp_path / "scenes").unlink()
        (job,) = asked(queue, service, scene(0))
        job.finished.result()
        assert job.state is State.DONE


def test_a_fault_is_logged_and_the_worker_goes_on(
    service: SceneService, text_to_3d: TextTo3D, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fault(*_: object, **__: object) -> None:
        raise RuntimeError("a fault of the program")

    queue = JobQueue(service)
    with queue.working():
        with monkeypatch.context() as broken:
            broken.setattr(text_to_3d, "generate", fault)
            (job,) = asked(queue, service, scene(0))
            job.finished.result()
        assert (job.state, job.status, job.message) == (State.FAILED, 500, FAULT)
        assert f"job {job.id} failed" in caplog.text and "a fault of the program" in caplog.text
        (job,) = asked(queue, service, scene(0))
        job.finished.result()
        assert job.state is State.DONE


def test_the_end_of_the_worker_leaves_nobody_waiting(service: SceneService) -> None:
    queue = JobQueue(service)
    with queue.working():
        jobs = asked(queue, service, scene(0, steps=MANY_STEPS), scene(1), scene(2))
        until_a_step(queue, jobs[0])
    assert [job.state for job in jobs] == [State.CANCELLED] * 3
    assert all(job.finished.done() for job in jobs)
    with pytest.raises(FullError, match="the server is ending"):
        asked(queue, service, scene(0))


def test_the_queue_has_an_end(service: SceneService) -> None:
    queue = JobQueue(service, longest=2)
    asked(queue, service, scene(0))
    with pytest.raises(FullError, match="1 requests wait; allowed: 2, so ask again later"):
        queue.submit(service.read({"prompt": ["a ball", "a cube"]}))
    assert len(queue.told()) == 1, "all of them or none"
    asked(queue, service, scene(1))


def test_what_cannot_be_cancelled_is_a_sentence(service: SceneService) -> None:
    queue = JobQueue(service, remembered=2)
    jobs = asked(queue, service, *(scene(number) for number in range(4)))
    for job in jobs[:3]:
        queue.cancel(job.id)
    with pytest.raises(ConflictError, match="is cancelled, at step 0 of 2; allowed: one that waits or has steps left"):
        queue.cancel(jobs[2].id)
    with pytest.raises(MissingError, match=f"there is no job {jobs[0].id}; .* the last 2"):
        queue.cancel(jobs[0].id)
    assert [one["id"] for one in queue.told()] == [job.id for job in jobs[1:]], "of those that ended the last two"


def alive() -> tuple[int, int]:
    """Number and bytes of the tensors that something holds."""
    gc.collect()
    tensors = [thing for thing in gc.get_objects() if issubclass(type(thing), torch.Tensor)]
    return len(tensors), sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def test_nothing_grows(service: SceneService, text_to_3d: TextTo3D, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors that are held are those from before, after scenes, cancelled ones and faults, whose tracebacks hold them."""
    # What is logged pytest keeps, with tracebacks.
    monkeypatch.setattr(logging.getLogger("vist3a_app.serving.job_queue"), "disabled", True)
    queue = JobQueue(service)
    with queue.working():

        def several() -> None:
            for job in asked(queue, service, scene(0), scene(3)):
                job.finished.result()
            (long,) = asked(queue, service, scene(1, steps=MANY_STEPS))
            until_a_step(queue, long)
            queue.cancel(long.id)
            long.finished.result()
            with monkeypatch.context() as broken:
                broken.setattr(text_to_3d, "render", None)
                for job in asked(queue, service, scene(0)):
                    job.finished.result()

        several()
        before = alive()
        several()
        several()
        assert alive() == before


def test_scenes_of_other_parameters_are_other_folders(service: SceneService) -> None:
    requests = service.read(
        {"prompt": ["a ball"] * 3, "seed": [3] * 3, "steps": [None, 1, 2], "guidance": [None, 2, 2]}
    )
    rows = [service.make(request) for request in requests]
    names = [Path(row["folder"]).name for row in rows]
    assert names[0] == "a-ball-3" and all(name.startswith("a-ball-3_") for name in names[1:])
    assert len({*names}) == 3
    assert Path(service.make(requests[1])["folder"]).name == names[1]

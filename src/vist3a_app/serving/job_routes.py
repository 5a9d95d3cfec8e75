"""Jobs over HTTP: ask for scenes, see how far they are, cancel; and MLflow's way, which waits for them.

========================  ===============================================================================================
``POST /jobs``            takes ``{"prompt": "a red ball", "seed": 3}``, or ``{"dataframe_records": [{...}, ...]}``; answers at
                          once with status 202 and ``{"jobs": [...]}``
``GET /jobs``             all jobs in their order, ``{"jobs": [...]}``
``GET /jobs/ID``          one
``DELETE /jobs/ID``       cancels it; answers with the job
``POST /invocations``     the same bodies; answers when all of them are done, ``{"predictions": [...]}``
========================  ===============================================================================================
"""

from __future__ import annotations

import asyncio

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from vist3a_app.serving.bodies import read_body, refusal
from vist3a_app.serving.job import Job, State
from vist3a_app.serving.job_queue import JobQueue
from vist3a_app.serving.service import ConflictError, SceneService

PREDICTIONS = "predictions"


def job_routes(service: SceneService, queue: JobQueue) -> list[Route]:
    """See the module."""

    async def submitted(request: Request) -> list[Job]:
        data = read_body(request.headers.get("content-type", ""), await request.body())
        # In a thread: a tokenizer may have to wait for the text encoder of the scene before.
        return queue.submit(await run_in_threadpool(service.read, data))

    async def submit(request: Request) -> Response:
        jobs = await submitted(request)
        return JSONResponse({"jobs": queue.told([job.id for job in jobs])}, 202)

    async def every(request: Request) -> Response:
        return JSONResponse({"jobs": queue.told()})

    async def one(request: Request) -> Response:
        return JSONResponse(queue.told([request.path_params["id"]])[0])

    async def cancel(request: Request) -> Response:
        queue.cancel(request.path_params["id"])
        return await one(request)

    async def invocations(request: Request) -> Response:
        jobs = await submitted(request)
        for job in jobs:
            await asyncio.wrap_future(job.finished)
        for job in jobs:
            if job.state is State.FAILED:
                return refusal(job.status, job.message)
            if job.state is State.CANCELLED:
                raise ConflictError(f"job {job.id} of this request was cancelled")
        return JSONResponse({PREDICTIONS: [dict(job.row) for job in jobs]})

    return [
        Route("/invocations", invocations, methods=["POST"]),
        Route("/jobs", submit, methods=["POST"]),
        Route("/jobs", every),
        Route("/jobs/{id}", one),
        Route("/jobs/{id}", cancel, methods=["DELETE"]),
    ]

"""The generator behind HTTP on this machine: the same requests and answers as MLflow's door, without MLflow.

``POST /invocations`` takes ``{"dataframe_records": [{"prompt": "a red ball", "seed": 3}]}``, or one request alone as an object,
and answers ``{"predictions": [...]}``; a refusal is ``{"error_code": ..., "message": ...}`` with its status. ``GET /ping`` says
that the networks are loaded.
"""

from __future__ import annotations

import json
import logging
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from vist3a_app.serving.requests import COLUMNS
from vist3a_app.serving.service import RefusedError, SceneService

if TYPE_CHECKING:
    from starlette.applications import Starlette

HOST = "127.0.0.1"
RECORDS, PREDICTIONS = "dataframe_records", "predictions"
CODES = {400: "INVALID_PARAMETER_VALUE", 500: "INTERNAL_ERROR"}
JSON = "application/json"

logger = logging.getLogger(__name__)


def application(service: SceneService) -> Starlette:
    """The door to ``service`` as an ASGI application, to which pages can be added as routes."""
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route

    def refused(status: int, sentence: str) -> Response:
        return JSONResponse({"error_code": CODES[status], "message": sentence}, status)

    async def invocations(request: Request) -> Response:
        try:
            data = read_body(request.headers.get("content-type", ""), await request.body())
            # In a thread of its own: the loop goes on to take requests and pings while networks work.
            rows = await run_in_threadpool(service.answer, data)
        except RefusedError as error:
            return refused(error.status, str(error))
        except Exception:  # a fault of the program: its traceback is the server's, not the client's
            logger.exception("a request failed")
            return refused(500, "the server failed at this request; its log says where")
        return JSONResponse({PREDICTIONS: rows})

    def ping(request: Request) -> Response:
        return Response("\n")

    return Starlette(
        routes=[Route("/invocations", invocations, methods=["POST"]), Route("/ping", ping)],
        # A page on the internet whose name is turned to this machine must not reach the generator through a browser.
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])],
    )


def read_body(kind: str, body: bytes) -> Any:
    """The table of a body, for :meth:`SceneService.answer`.

    Raises:
        RefusedError: It is no JSON, or of another shape.
    """
    import pandas as pd

    # Browsers let any page send other types without asking this server.
    if kind.partition(";")[0].strip().lower() != JSON:
        raise RefusedError(f"Content-Type {kind!r}; allowed: {JSON}")
    try:
        values: Any = json.loads(body)
    except ValueError as error:
        raise RefusedError(f"the request is not JSON: {error}; {COLUMNS}") from error
    # One request alone is a table of one row.
    if isinstance(values, dict) and RECORDS not in values:
        values = {RECORDS: [values]}
    records = values.get(RECORDS) if isinstance(values, dict) and len(values) == 1 else None
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise RefusedError(
            f'the request is no {{"{RECORDS}": [{{...}}]}} alone and no object of one request; {COLUMNS}'
        )
    # As objects: a gap in a column must not make floating-point numbers of large integers.
    return pd.DataFrame(records, dtype=object)


def bound(port: int) -> socket.socket:
    """A socket at a port of this machine (0: a free one), before networks are loaded in vain.

    Raises:
        ValueError: The port is taken or not to be had.
    """
    try:
        return socket.create_server((HOST, port))
    except (OSError, OverflowError) as error:
        raise ValueError(f"--port {port}: {error}; allowed: a free port from 1024 to 65535") from error


def serve(service: SceneService, listening: socket.socket) -> None:
    """Answer at ``listening`` until Ctrl-C."""
    import uvicorn

    with suppress(KeyboardInterrupt):  # which uvicorn raises again after it has answered those who wait
        uvicorn.Server(uvicorn.Config(application(service), log_level="warning")).run(sockets=[listening])

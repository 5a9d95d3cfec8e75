"""The generator behind HTTP: a page to try it, a queue of jobs, finished scenes, and MLflow's ``/invocations`` without MLflow.

One worker makes one scene after the other; see :mod:`vist3a_app.serving.job_routes` and :mod:`vist3a_app.serving.scene_routes`
for what is answered. A refusal is ``{"error_code": ..., "message": ...}`` with its status. ``GET /ping`` says that the networks
are loaded.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from vist3a_app.serving.access import LOOPBACK, TokenGuard
from vist3a_app.serving.bodies import refusal, refused
from vist3a_app.serving.gallery import Gallery
from vist3a_app.serving.job_queue import FAULT, JobQueue
from vist3a_app.serving.job_routes import job_routes
from vist3a_app.serving.scene_routes import scene_routes
from vist3a_app.serving.service import RefusedError, SceneService


def application(service: SceneService, gallery: Gallery, token: str | None = None) -> Starlette:
    """The door to ``service`` as an ASGI application, with a worker of its own.

    Args:
        service: It writes where the gallery looks.
        gallery: The finished scenes.
        token: Asked for wherever a request comes from; None: every program of this machine may ask.
    """
    queue = JobQueue(service)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        with queue.working():
            yield

    async def ping(request: Request) -> Response:
        return Response("\n")

    def fault(request: Request, error: Exception) -> Response:
        return refusal(500, FAULT)  # the server logs the traceback

    # A page on the internet whose name is turned to this machine must not reach the generator through a browser.
    guard = (
        Middleware(TrustedHostMiddleware, allowed_hosts=LOOPBACK) if token is None else Middleware(TokenGuard, token)
    )
    return Starlette(
        routes=[Route("/ping", ping), *job_routes(service, queue), *scene_routes(gallery)],
        middleware=[guard],
        exception_handlers={RefusedError: refused, Exception: fault},
        lifespan=lifespan,
    )


def bound(host: str, port: int) -> socket.socket:
    """A socket at a port (0: a free one), before networks are loaded in vain.

    Raises:
        ValueError: The port is taken or not to be had, or the host is none of this machine.
    """
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        raise ValueError(
            f"--host {host} --port {port}: {error}; allowed: an address of this machine, and a free port from 1024 to 65535"
        ) from error


def address(host: str, listening: socket.socket, token: str | None) -> str:
    """What to open in a browser."""
    # An address that stands for all of them is none to go to.
    name = socket.gethostname() if host in {"0.0.0.0", "::"} else f"[{host}]" if ":" in host else host
    return f"http://{name}:{listening.getsockname()[1]}/" + ("" if token is None else f"?token={token}")


def serve(app: Starlette, listening: socket.socket) -> None:
    """Answer at ``listening`` until Ctrl-C."""
    import uvicorn

    with suppress(KeyboardInterrupt):  # which uvicorn raises again after it has answered those who wait
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listening])

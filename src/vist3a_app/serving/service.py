"""The core behind every door of a served generator: a request is read and checked, its scene generated, written, and answered.

A door (MLflow's, our own, a page) turns what it receives into a table, and what is raised here into its kind of refusal. Nothing
of a request is decided anywhere else, so all doors have the same rules and the same sentences.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from vist3a.generation.text_to_3d import TextTo3D
from vist3a_app.serving.requests import PROMPT, Request, read_requests

OUTPUT = "VIST3A_OUTPUT"
FOLDER = "folder"
PATHS = ("viewer", "gaussians", "points", "depth", "cameras", "video", "turntable", "picture")
COLUMNS = (PROMPT, FOLDER, *PATHS)
"""What an answer has: the prompt, the folder of its scene, and paths in it (empty where the network has no such output)."""


class RefusedError(ValueError):
    """A request that is not answered, in one sentence; ``status`` is that of HTTP."""

    status: ClassVar[int] = 400


class MissingError(RefusedError):
    """There is no such thing."""

    status: ClassVar[int] = 404


class ConflictError(RefusedError):
    """Not as things stand now."""

    status: ClassVar[int] = 409


class FullError(RefusedError):
    """Too many wait."""

    status: ClassVar[int] = 503


class UnwritableError(RefusedError):
    """The disk does not take the scene, which is no fault of the request."""

    status: ClassVar[int] = 500


def output_folder(given: Path | None) -> Path:
    """The absolute folder for scenes; of None the one that the environment variable VIST3A_OUTPUT names, else ``generated``."""
    return (given or Path(os.environ.get(OUTPUT) or "generated")).resolve()


class SceneService:
    """Answers requests with scenes on disk, all at once (:meth:`answer`) or one by one (:meth:`read`, then :meth:`make`).

    Threads may share one: requests at the same time wait for each other inside of ``TextTo3D``, and each gets the bytes that it
    would get alone. Equal requests at the same time write equal files into one folder, each file whole.

    Args:
        text_to_3d: The loaded networks.
        output: Where folders of scenes are made, see :func:`output_folder`. Not where a request says: a server's disk is not its
            clients'.

    Example:
        >>> SceneService(vist3a.load(), Path("scenes")).answer({"prompt": "a red ball", "seed": 3})[0]["viewer"]
        '/home/me/scenes/a-red-ball-3/viewer.html'
    """

    def __init__(self, text_to_3d: TextTo3D, output: Path | None = None) -> None:
        self._text_to_3d = text_to_3d
        self._output = output

    def answer(self, data: Any) -> list[dict[str, str]]:
        """One row (:data:`COLUMNS`) per request, in their order.

        All requests are checked before anything is generated.

        Args:
            data: As :func:`vist3a_app.serving.requests.read_requests` takes it.

        Raises:
            RefusedError: A request is wrong (status 400), or its scene cannot be written (500).
        """
        return [self.make(request) for request in self.read(data)]

    def read(self, data: Any) -> list[Request]:
        """The requests of a table, each of them checked, without waiting for a scene that is being made.

        Raises:
            RefusedError: A request is wrong (status 400).
        """
        try:
            requests = read_requests(data)
            self._check(requests)
        except ValueError as error:
            raise RefusedError(str(error)) from error
        return requests

    def make(self, request: Request, after_step: Callable[[], None] = lambda: None) -> dict[str, str]:
        """Generate and write the scene of a checked request; its row of an answer.

        Args:
            request: One of :meth:`read`.
            after_step: Called after every denoising step. What it raises ends the work, and nothing is written.

        Raises:
            RefusedError: The scene cannot be written (status 500).
        """
        scene = self._text_to_3d.generate(request.prompt, seed=request.seed, after_step=after_step, **request.changes)
        # Read anew for every request, as the environment of a door may change after it has opened.
        output, name = output_folder(self._output), scene.name + request.suffix
        try:
            paths = scene.save(output, name)
        except OSError as error:
            raise UnwritableError(f"the scene cannot be written to {output}: {error}") from error
        files = {kind: str(paths[kind]) if kind in paths else "" for kind in PATHS}
        return {PROMPT: request.prompt, FOLDER: str(output / name), **files}

    def steps(self, request: Request) -> int:
        """Denoising steps of its scene."""
        return int(request.changes.get("steps", self._text_to_3d.sampling.steps))

    def _check(self, requests: list[Request]) -> None:
        """ValueError for what cannot be generated as it is asked for."""
        # A run cuts a long prompt with a warning; here nobody would read the warning.
        self._text_to_3d.check([request.prompt for request in requests], whole=True)
        for row, request in enumerate(requests):
            sides = {name: request.changes[name] for name in ("frames", "height", "width") if name in request.changes}
            try:
                self._text_to_3d.check_size(**sides)
                if "guidance" in request.changes:
                    self._text_to_3d.generator.check_guidance(request.changes["guidance"])
            except ValueError as error:
                raise ValueError(f"row {row}: {error}") from error

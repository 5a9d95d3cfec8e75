"""Serves the folder of one scene on this machine only: ``python -m vist3a.export.serve [SCENE] [--port 8000]``."""

from __future__ import annotations

import argparse
import sys
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

GENERATED = Path("data/07_model_output/generated")
PAGE = "viewer.html"


def find_scene(scene: str, generated: Path = GENERATED) -> Path:
    """The folder of a scene: named by path, by its viewer or by its name in ``generated``; the newest for an empty text."""
    if scene:
        for place in (Path(scene), generated / scene):
            folder = place.parent if place.name == PAGE else place
            if (folder / PAGE).is_file():
                return folder
        raise FileNotFoundError(f"{scene} is no scene: neither it nor {generated / scene} holds {PAGE}")
    pages = sorted(generated.glob(f"*/{PAGE}"), key=lambda page: page.stat().st_mtime)
    if not pages:
        raise FileNotFoundError(f"no scene in {generated}: `kedro run --pipelines=generate` makes one")
    return pages[-1].parent


def server(folder: Path, port: int) -> ThreadingHTTPServer:
    """A server of ``folder`` on the loopback interface (port 0: a free one)."""
    return ThreadingHTTPServer(("127.0.0.1", port), partial(SimpleHTTPRequestHandler, directory=str(folder)))


def show(scene: str, port: int) -> None:
    """Serve a scene (see :func:`find_scene`) until Ctrl-C, and say where."""
    folder = find_scene(scene)
    with server(folder, port) as serving:
        sys.stdout.write(f"{folder}: http://127.0.0.1:{serving.server_port}/{PAGE}  (Ctrl-C ends it)\n")
        sys.stdout.flush()
        with suppress(KeyboardInterrupt):
            serving.serve_forever()


def main() -> int:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scene", nargs="?", default="")
    parser.add_argument("--port", type=int, default=8000)
    arguments = parser.parse_args()
    try:
        show(arguments.scene, arguments.port)
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

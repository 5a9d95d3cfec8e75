"""Finished scenes over HTTP, and the page.

==========================  ==========================================================================================
``GET /``                   the page
``GET /scenes``             all scenes, the newest first, ``{"scenes": [...]}``
``GET /scenes/NAME``        one, with its files
``GET /scenes/NAME/FILE``   a file of it
``DELETE /scenes/NAME``     removes it
``GET /archives/NAME.zip``  all of its files
==========================  ==========================================================================================
"""

from __future__ import annotations

from importlib.resources import files
from tempfile import TemporaryFile
from zipfile import ZIP_STORED, ZipFile

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from vist3a_app.serving.gallery import Gallery

ASSETS = {
    "/": ("page.html", "text/html"),
    "/page.js": ("page.js", "text/javascript"),
    "/page.css": ("page.css", "text/css"),
}
# Nothing of the page comes from elsewhere, and nobody else's page frames it.
ITS_OWN = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; frame-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PAGE = {"Content-Security-Policy": ITS_OWN, "Referrer-Policy": "no-referrer", "Cache-Control": "no-cache"}
# A viewer is a program in a file of the scene: it may run, and may not ask this server for anything.
SCENE = {
    "Content-Security-Policy": "sandbox allow-scripts",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
PIECE = 2**18


def scene_routes(gallery: Gallery) -> list[Route]:
    """See the module."""

    # Not coroutines: Starlette runs them in threads, as they read the disk.
    def asset(request: Request) -> Response:
        name, kind = ASSETS[request.url.path if request.url.path in ASSETS else "/"]
        content = (files("vist3a_app.serving") / "assets" / name).read_text(encoding="utf-8")
        return Response(content, media_type=kind, headers=PAGE)

    def every(request: Request) -> Response:
        return JSONResponse({"scenes": gallery.scenes()})

    def one(request: Request) -> Response:
        return JSONResponse(gallery.scene(request.path_params["name"]))

    def file(request: Request) -> Response:
        return FileResponse(gallery.file(request.path_params["name"], request.path_params["path"]), headers=SCENE)

    def delete(request: Request) -> Response:
        gallery.delete(request.path_params["name"])
        return Response(status_code=204)

    def archive(request: Request) -> Response:
        name = request.path_params["name"]
        content = {f"{name}/{path}": gallery.file(name, path) for path in gallery.files(name)}
        whole = TemporaryFile()  # noqa: SIM115 (closed when it has been sent)
        # Most files are compressed already.
        with ZipFile(whole, "w", ZIP_STORED) as zipped:
            for path, place in content.items():
                zipped.write(place, path)
        whole.seek(0)
        return StreamingResponse(
            iter(lambda: whole.read(PIECE), b""),
            media_type="application/zip",
            headers={"Content-Disposition": f'attachment; filename="{name}.zip"'},
            background=BackgroundTask(whole.close),
        )

    return [
        *(Route(path, asset) for path in ASSETS),
        Route("/scenes", every),
        Route("/scenes/{name}", one),
        Route("/scenes/{name}", delete, methods=["DELETE"]),
        Route("/scenes/{name}/{path:path}", file),
        Route("/archives/{name}.zip", archive),
    ]

"""The page of a run in MLflow shows the viewer and the pictures (headless Chromium, a server of its own)."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from browser import PATIENCE, Page, chromium
from scene_cases import small_scene

from vist3a.export.video import save_image
from vist3a.export.viewer import save_viewer
from vist3a_app.hooks.mlflow_run import MlflowRun
from vist3a_app.hooks.run_note import recorded_names, run_note
from vist3a_app.hooks.tracking_settings import TrackingSettings

# The store runs in this process; what MLflow's own packages warn each other of is theirs.
pytestmark = pytest.mark.filterwarnings("default")

PAGE = "generated/viewers/a-scene-0.html"


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with chromium() as browser:
        yield browser.page()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, page: Page) -> Iterator[tuple[str, MlflowRun]]:
    """Address of the server, and a run with a viewer, a picture and their description."""
    root = tmp_path_factory.mktemp("store")
    caption, frames, scene = small_scene()
    (root / "viewers").mkdir()
    save_viewer(root / "viewers" / "a-scene-0.html", caption, frames[0], scene, scene.gaussians)
    save_image(root / "picture.png", frames[0, 0])
    record = MlflowRun(TrackingSettings(), root, "generate", {})
    files = []
    for path in (root / "viewers", root / "picture.png"):
        record.file(path, "generated")
        files += recorded_names(path, "generated")
    assert PAGE in files
    record.tags({"mlflow.note.content": run_note({}, record.id, record.experiment, files)})
    record.end("FINISHED")
    with serving(root) as address:
        yield address, record


@contextmanager
def serving(root: Path) -> Iterator[str]:
    """Address of a server of the store in ``root``, on a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--backend-store-uri",
        f"sqlite:///{root}/mlflow.db",
        "--workers",
        "1",
    ]
    command += ["--default-artifact-root", (root / "mlruns").as_uri(), "--host", "127.0.0.1", "--port", str(port)]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, cwd=root, env=environment, start_new_session=True, **quiet)  # type: ignore[call-overload]
    try:
        wait_for(f"http://127.0.0.1:{port}", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        # The group has the server's own processes in it.
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(20)


def wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        try:
            urllib.request.urlopen(f"{address}/health", timeout=5).close()
            return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            assert process.poll() is None, "the server ended"
            time.sleep(0.5)
    raise AssertionError("the server does not answer")


def test_the_artifact_page_shows_the_viewer(page: Page, run: tuple[str, MlflowRun]) -> None:
    address, record = run
    page.open(f"{address}/#/experiments/{record.experiment}/runs/{record.id}/artifacts/{PAGE}", 1500, 1000)
    # MLflow shows pages in a sandbox.
    page.wait_for("document.querySelector('iframe')")
    page.wait_for("window.vist3a", embedded=True)
    assert page.evaluate("document.querySelector('h1').textContent", embedded=True) == "a scene"
    drawn = page.evaluate("window.vist3a.snapshot(0)", embedded=True)
    assert len(drawn) > 2000, "an empty picture is a few hundred characters"
    foreign = [url for url in page.requests if not url.startswith((address, "data:", "blob:", "about:"))]
    assert foreign == []


def test_the_description_shows_pictures_and_links_the_viewer(page: Page, run: tuple[str, MlflowRun]) -> None:
    address, record = run
    page.open(f"{address}/#/experiments/{record.experiment}/runs/{record.id}", 1500, 1400)
    page.wait_for("[...document.images].some(i => i.src.includes('picture.png') && i.naturalWidth > 0)")
    links = page.evaluate("[...document.querySelectorAll('a')].map(a => a.href).filter(h => h.includes('a-scene-0'))")
    assert links == [f"{address}/#/experiments/{record.experiment}/runs/{record.id}/artifacts/{PAGE}"]

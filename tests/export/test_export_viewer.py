"""The viewer in a headless browser: it draws what our renderer draws, logs no error, and asks nothing of the network."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from browser import Browser, Page, chromium
from PIL import Image
from scene_cases import HEIGHT, VIEWS, WIDTH, small_scene

from vist3a.export.pivot import pivot_depth
from vist3a.export.scene import ExportSettings, save_scene
from vist3a.export.viewer import Caption, save_viewer
from vist3a.metrics.off_path import views_off_path
from vist3a.pairing import load_reconstruction
from vist3a.records import Cameras, Reconstruction
from vist3a.rendering.cpu import CpuRenderer
from vist3a_lab.world import ProceduralWorld

NETWORK = Path(__file__).resolve().parents[2] / "data" / "06_models" / "embedded" / "reconstruction"
NASTY = 'a "cube" </script><script>window.stolen=1</script> & <b>bold</b> \u2028 $scene ${x} 🧊 ' + "ü" * 2000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def viewer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("viewer") / "viewer.html"
    caption, frames, scene = small_scene()
    save_viewer(path, Caption(NASTY, caption.facts), frames[0], scene, scene.gaussians)
    return path


@pytest.fixture(scope="module")
def page(browser: Browser, viewer: Path) -> Page:
    page = browser.page()
    page.open(viewer.as_uri())
    page.wait_for("window.vist3a")
    return page


def picture(page: Page, seen: int | Cameras, scale: int = 1) -> torch.Tensor:
    """Of an input view by its number, or from any camera."""
    if isinstance(seen, Cameras):
        told = json.dumps({"world_to_camera": seen.world_to_camera.tolist(), "intrinsics": seen.intrinsics.tolist()})
    else:
        told = str(seen)
    data = page.evaluate(f"window.vist3a.snapshot({told}, {scale})")
    image = Image.open(io.BytesIO(base64.b64decode(data.split(",")[1]))).convert("RGB")
    return torch.from_numpy(np.array(image)).movedim(-1, 0) / 255


def psnr(one: torch.Tensor, other: torch.Tensor) -> float:
    return float(-10 * torch.log10((one - other).square().mean()))


@pytest.mark.parametrize("view", [0, VIEWS - 1])
def test_the_viewer_draws_what_our_renderer_draws(page: Page, view: int) -> None:
    _, _, scene = small_scene()
    assert scene.gaussians is not None
    ours = CpuRenderer()(scene.gaussians, scene.cameras[:, view : view + 1], (HEIGHT, WIDTH)).rgb[0, 0].clamp(0, 1)
    assert (ours < 0.9).float().mean() > 0.3, "the scene is in view"
    theirs = picture(page, view)
    assert theirs.shape == ours.shape
    assert psnr(theirs, ours) >= 35, f"{psnr(theirs, ours):.1f} dB"
    # Not by chance: the other end of the path looks different.
    assert psnr(picture(page, VIEWS - 1 - view), ours) < psnr(theirs, ours) - 5


def judge_off_the_path(page: Page, scene: Reconstruction, size: tuple[int, int], least: float) -> None:
    """From the right and from the left of places on the path, and between two views."""
    assert scene.gaussians is not None
    cameras = views_off_path(scene.cameras[0], pivot_depth(scene.depth[0]))
    with torch.no_grad():
        wanted = CpuRenderer()(scene.gaussians, cameras[None], size).rgb[0].clamp(0, 1)
        on_path = CpuRenderer()(scene.gaussians, scene.cameras, size).rgb[0].clamp(0, 1)
    right, left, between = len(wanted) - 6, len(wanted) - 1, 1
    for view in (right, left, between):
        drawn = picture(page, cameras[view])
        assert psnr(drawn, wanted[view]) >= least, f"view {view}: {psnr(drawn, wanted[view]):.1f} dB"
        # No view of the path is so near that it would do instead.
        if view != between:
            assert max(psnr(drawn, one) for one in on_path) < least - 5


def test_off_the_path_it_draws_what_our_renderer_draws(page: Page) -> None:
    _, _, scene = small_scene()
    judge_off_the_path(page, scene, (HEIGHT, WIDTH), 35)


def test_points_lie_where_the_frames_were_taken(page: Page) -> None:
    """Seen from their own camera, the points show the frame that gave them their colours."""
    page.evaluate("window.vist3a.show('splats', false); window.vist3a.show('points', true)")
    seen = picture(page, 0, scale=4)
    page.evaluate("window.vist3a.show('splats', true); window.vist3a.show('points', false)")
    _, frames, _ = small_scene()
    large = torch.nn.functional.interpolate(frames[0, :1], scale_factor=4)[0]
    drawn = (seen < 0.999).any(0)
    assert drawn.float().mean() > 0.5
    # All views show the same red and green there; blue tells the views apart.
    assert (seen - large)[:2, drawn].abs().mean() < 0.03


def test_cameras_are_drawn(page: Page) -> None:
    before = picture(page, 0, scale=2)
    page.evaluate("window.vist3a.show('cameras', true)")
    after = picture(page, 0, scale=2)
    page.evaluate("window.vist3a.show('cameras', false)")
    assert (before - after).abs().amax(0).gt(0.1).sum() > 10


def test_no_error_and_no_request(page: Page, viewer: Path) -> None:
    page.evaluate("document.getElementById('play').click()")
    page.wait_for("Number(document.getElementById('view').value) > 0")
    assert page.errors == []
    outside = [url for url in page.requests if not url.startswith(("data:", "blob:"))]
    assert outside == [viewer.as_uri()]


def test_prompt_and_scores_are_shown_as_text(page: Page) -> None:
    assert page.evaluate("document.querySelector('h1').textContent") == NASTY
    assert page.evaluate("window.stolen === undefined")
    assert "consistency_db 21.2" in page.evaluate("document.querySelector('dl').innerText").replace("\n", " ")


def test_video_and_depth_stand_beside_the_scene(page: Page) -> None:
    # After a seek a frame must be decoded again, which takes a while on a busy machine.
    page.wait_for("document.getElementById('video').readyState >= 2")
    duration = page.evaluate("document.getElementById('video').duration")
    assert duration == pytest.approx(VIEWS / 8, abs=0.02)
    size = page.evaluate("[document.getElementById('depth').width, document.getElementById('depth').height]")
    assert size == [WIDTH, HEIGHT]


def test_a_phone_shows_it_without_sideways_scrolling(browser: Browser, viewer: Path) -> None:
    page = browser.page()
    page.open(viewer.as_uri(), 390, 844, mobile=True)
    page.wait_for("window.vist3a")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    sizes = json.loads(
        page.evaluate(
            "JSON.stringify(['canvas','video','depth','play'].map(id => document.getElementById(id).getBoundingClientRect()))"
        )
    )
    assert all(box["left"] >= 0 and box["right"] <= 390 and box["height"] > 30 for box in sizes)
    assert page.errors == []


@pytest.mark.skipif(not NETWORK.is_dir(), reason="the embedded networks are not here: dvc pull pretrain")
def test_off_the_path_a_scene_of_the_network_looks_the_same(browser: Browser, tmp_path: Path) -> None:
    """Tens of thousands of Gaussians, thin and nearly opaque, on surfaces with holes behind them."""
    frames = ProceduralWorld().scenes(9301, [0], (64, 64), 13).given
    with torch.no_grad():
        scene = load_reconstruction("anysplat", str(NETWORK)).reconstruct(frames)
    save_viewer(tmp_path / "viewer.html", Caption("a scene", {}), frames[0], scene, scene.gaussians)
    page = browser.page()
    # Without a GPU every pixel costs.
    page.open((tmp_path / "viewer.html").as_uri(), 320, 240)
    page.wait_for("window.vist3a")
    judge_off_the_path(page, scene, (64, 64), 35)
    assert page.errors == []


def test_a_scene_without_gaussians_shows_its_points(browser: Browser, tmp_path: Path) -> None:
    caption, frames, scene = small_scene()
    save_viewer(tmp_path / "viewer.html", caption, frames[0], scene, None)
    page = browser.page()
    page.open((tmp_path / "viewer.html").as_uri())
    page.wait_for("window.vist3a")
    assert page.evaluate("document.getElementById('show-points').checked")
    assert (picture(page, 0, scale=2) < 0.999).any(0).float().mean() > 0.3
    assert page.errors == []


def test_the_page_is_small_and_names_no_host(viewer: Path) -> None:
    text = viewer.read_text(encoding="utf-8")
    assert len(text) < 2_500_000
    head = text[: text.index('id="bundle"')]
    assert re.findall(r"https?://[^\s\"']+", head) == []


def test_all_files_of_a_scene(tmp_path: Path) -> None:
    caption, frames, scene = small_scene()
    settings = ExportSettings(max_gaussians=500, min_opacity=0.05, turntable_frames=6, turntable_size=48)
    paths = save_scene(tmp_path / "new", caption, frames, scene, scene.gaussians, CpuRenderer(), settings)
    assert all(path.exists() for path in paths.values())
    named = {path.relative_to(tmp_path / "new").parts[0] for path in paths.values()}
    assert named == {path.name for path in (tmp_path / "new").iterdir()}
    cameras = json.loads(paths["cameras"].read_text())
    assert all((tmp_path / "new" / frame["file_path"]).is_file() for frame in cameras["frames"])
    assert json.loads(paths["prompt"].read_text()) == {"prompt": "a scene", "seed": 3, "consistency_db": 21.25}

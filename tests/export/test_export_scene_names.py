"""Folder names of prompts, serving of scenes, smoothing of Gaussians."""

from __future__ import annotations

import os
import re
import threading
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from gaussian_cases import some_gaussians
from hypothesis import example, given
from hypothesis import strategies as st

from vist3a.export.scene import scene_name
from vist3a.export.serve import find_scene, server
from vist3a.export.smoothing import close_gaps
from vist3a.records import Cameras
from vist3a.rendering.cpu import CpuRenderer

LIKE = [
    "a red ball",
    "A red ball",
    "a red  ball",
    "a/red/ball",
    'a "red" ball',
    "a-red-ball",
    "a red ball 🧊",
    " a red ball",
]


@given(st.text(max_size=300), st.integers(0, 10**6))
@example("../../etc/passwd", 0)
@example("🧊🔥", 0)
@example("x " * 1000, 0)
@example("con", 0)
@example("\ud800", 0)
def test_names_stay_in_their_folder(prompt: str, seed: int) -> None:
    name = scene_name(prompt, seed)
    assert re.fullmatch(r"[a-z0-9]+(--?[a-z0-9]+)*-\d+", name) and len(name.encode()) <= 80


@given(st.lists(st.one_of(st.text(max_size=80), st.sampled_from(LIKE)), min_size=2, max_size=8, unique=True))
@example(LIKE)
@example(["a b " * 25 + "red", "a b " * 25 + "blue"])
def test_different_prompts_have_different_names(prompts: list[str]) -> None:
    assert len({scene_name(prompt, 0) for prompt in prompts}) == len(prompts)


def test_plain_prompts_are_readable() -> None:
    assert scene_name("a red sphere on a wooden floor", 7) == "a-red-sphere-on-a-wooden-floor-7"
    assert re.fullmatch(r"a-red-ball--[0-9a-f]{8}-0", scene_name("A red ball!", 0))


def test_a_scene_is_found_and_served_on_this_machine(tmp_path: Path) -> None:
    for age, name in enumerate(["new", "old"]):
        (tmp_path / name).mkdir()
        (tmp_path / name / "viewer.html").write_text(name)
        os.utime(tmp_path / name / "viewer.html", (1000 - age, 1000 - age))
    assert find_scene("", tmp_path) == find_scene("new", tmp_path) == tmp_path / "new"
    assert find_scene(str(tmp_path / "old" / "viewer.html"), tmp_path) == tmp_path / "old"
    with pytest.raises(FileNotFoundError, match="other is no scene"):
        find_scene("other", tmp_path)
    with pytest.raises(FileNotFoundError, match="kedro run --pipelines=generate"):
        find_scene("", tmp_path / "none")
    with server(tmp_path / "old", 0) as serving:
        assert serving.server_address[0] == "127.0.0.1"
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        with urllib.request.urlopen(f"http://127.0.0.1:{serving.server_port}/viewer.html", timeout=10) as answer:
            assert answer.read() == b"old"
        serving.shutdown()


def test_smoothing_adds_its_variance_in_pixels_of_the_nearest_view() -> None:
    gaussians = replace(some_gaussians(1), means=torch.tensor([0.0, 0, 4]) + 0.1 * some_gaussians(1).means)
    pose = torch.eye(4).repeat(2, 1, 1)
    pose[1, 2, 3] = -2.0  # this camera stands two units nearer
    cameras = Cameras(pose, torch.diag(torch.tensor([40.0, 50.0, 1.0])).expand(2, 3, 3))
    grown = close_gaps(gaussians, cameras, 0.3)
    pixel = (gaussians.means[0, :, 2] - 2) / 50
    torch.testing.assert_close(
        grown.scales[0].square() - gaussians.scales[0].square(), (0.3 * pixel**2)[:, None].expand(-1, 3)
    )
    behind = close_gaps(replace(gaussians, means=-gaussians.means), cameras[:1], 0.3)
    torch.testing.assert_close(behind.scales, gaussians.scales)
    with pytest.raises(ValueError, match="must not be negative"):
        close_gaps(gaussians, cameras, -0.1)


def test_smoothing_closes_the_gaps_of_an_enlarged_sheet() -> None:
    """A thin Gaussian per pixel: closed by the blur at its own size, open six times larger, closed again by smoothing."""
    y, x = torch.meshgrid(torch.arange(24) + 0.5, torch.arange(24) + 0.5, indexing="ij")
    means = torch.stack([(x - 12) / 24, (y - 12) / 24, torch.ones_like(x)], -1).flatten(0, 1)[None]
    g = some_gaussians(1, means.shape[1])
    black = torch.full_like(g.harmonics, -0.5 / 0.28209479)
    sheet = replace(
        g, means=means, scales=torch.full_like(g.scales, 1e-3), opacities=0 * g.opacities + 0.9, harmonics=black
    )
    k = torch.tensor([[24.0, 0, 12], [0, 24, 12], [0, 0, 1]])
    small, large = (
        Cameras(torch.eye(4)[None], k[None]),
        Cameras(torch.eye(4)[None], (k * torch.tensor([6.0, 6, 1])[:, None])[None]),
    )
    inside = slice(36, 108)

    def light(gaussians: object, cameras: Cameras, size: int) -> torch.Tensor:
        return CpuRenderer()(gaussians, cameras[None], (size, size)).rgb[0, 0]  # type: ignore[arg-type]

    own = light(sheet, small, 24)[:, 6:18, 6:18].max()
    opened = light(sheet, large, 144)[:, inside, inside].max()
    closed = light(close_gaps(sheet, small, 0.2), large, 144)[:, inside, inside].max()
    assert opened > 0.9 and closed < 0.5 and own < 0.5

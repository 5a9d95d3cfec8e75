"""Figures of a film against closed forms and against what a network's own parts give."""

from __future__ import annotations

import math

import pytest
import torch
from reconstruction_cases import build
from tiny_networks import tiny_network

from vist3a.metrics.video import diversity, film_figures, film_motion, film_rows, flicker, motion
from vist3a.records import Cameras
from vist3a.rendering import renderer_for


def moving(positions: torch.Tensor) -> Cameras:
    """Cameras at positions [views, 3], each turned by another rotation."""
    count = len(positions)
    random = torch.Generator().manual_seed(0)
    rotation = torch.linalg.qr(torch.randn(count, 3, 3, generator=random, dtype=torch.float64)).Q
    pose = torch.eye(4, dtype=torch.float64).repeat(count, 1, 1)
    pose[:, :3, :3] = rotation
    pose[:, :3, 3] = -(rotation @ positions[..., None])[..., 0]
    return Cameras(pose[None], torch.eye(3, dtype=torch.float64).expand(1, count, 3, 3))


def test_motion_is_the_length_of_the_path_in_median_depths() -> None:
    angle = torch.linspace(0, math.pi, 181, dtype=torch.float64)
    circle = torch.stack([2 * angle.cos(), 2 * angle.sin(), 0 * angle], -1)
    depth = torch.linspace(1, 7, 181 * 4, dtype=torch.float64).reshape(1, 181, 2, 2)
    # Half a circle of radius 2, seen at a median depth of 4.
    assert float(motion(moving(circle), depth)) == pytest.approx(2 * math.pi / 4, rel=5e-3)
    still = torch.ones(5, 3, dtype=torch.float64)
    assert float(motion(moving(still), depth[:, :5])) == pytest.approx(0, abs=1e-9)


def test_flicker_is_what_no_steady_change_explains() -> None:
    steady = torch.linspace(0.2, 0.8, 7)[None, :, None, None, None].expand(1, 7, 3, 4, 4)
    assert float(flicker(steady)) == pytest.approx(0, abs=1e-6)
    jumping = 0.5 + 0.1 * torch.tensor([1.0, -1, 1, -1, 1])[None, :, None, None, None].expand(1, 5, 3, 4, 4)
    # Second differences of +-a are 4 a.
    assert float(flicker(jumping)) == pytest.approx(0.4, rel=1e-5)
    # A picture that changes everywhere but keeps its mean does not flicker.
    checks = torch.stack([torch.eye(4), 1 - torch.eye(4) * 2 / 3]).repeat(3, 1, 1)[None, :, None].expand(1, 6, 3, 4, 4)
    means = checks.mean((-2, -1))
    assert float(flicker(checks)) == pytest.approx(float(means.diff(n=2, dim=1).square().mean().sqrt()))
    with pytest.raises(ValueError, match="at least 3 frames, found 2"):
        flicker(steady[:, :2])


def test_figures_of_a_film_are_those_of_its_reconstruction() -> None:
    network = tiny_network(dtype=torch.float32)
    frames = torch.rand(2, 5, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    render = renderer_for(torch.device("cpu"))
    found = film_figures(network, render, frames)
    for i in range(2):
        with torch.no_grad():
            scene = network.reconstruct(frames[i : i + 1])
        picture = render(scene.gaussians, scene.cameras, (16, 16)).rgb.clamp(0, 1)
        error = float((picture - frames[i]).square().mean())
        assert float(found.rerender[i]) == pytest.approx(-10 * math.log10(error), abs=1e-3)
        assert float(found.motion[i]) == pytest.approx(float(motion(scene.cameras, scene.depth)), rel=1e-4)
        assert float(found.flicker[i]) == pytest.approx(float(flicker(frames[i : i + 1])), rel=1e-5)
    assert torch.equal(film_motion(network, frames), found.motion)
    rows = film_rows(network, render, frames)
    for name, values in rows.items():
        assert values == pytest.approx(getattr(found, name).tolist(), rel=1e-4)
    assert rows.keys() == {"rerender", "motion", "flicker"}


def test_what_cannot_be_figured_is_left_out() -> None:
    """Without Gaussians nothing is re-rendered, and two frames do not flicker."""
    network, render = build("vggt").float(), renderer_for(torch.device("cpu"))
    frames = torch.rand(1, 5, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    found = film_figures(network, render, frames)
    assert found.rerender is None and found.flicker is not None
    with torch.no_grad():
        scene = network.reconstruct(frames)
    assert float(found.motion) == pytest.approx(float(motion(scene.cameras, scene.depth)), rel=1e-6)
    assert film_rows(network, render, frames[:, :2]).keys() == {"motion"}


def test_diversity_is_the_mean_distance_of_all_pairs() -> None:
    def apart(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return (one - other).abs().mean((1, 2, 3))

    films = [torch.full((4, 3, 8, 8), level) for level in (0.0, 0.3, 0.9)]
    assert diversity(films, apart) == pytest.approx((0.3 + 0.9 + 0.6) / 3)
    assert diversity([films[0]] * 3, apart) == 0
    with pytest.raises(ValueError, match="at least two films of a prompt, found 1"):
        diversity(films[:1], apart)

"""Refinement helps, says so truly, stops, and never makes a scene worse."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from world_cases import splats_of, world_scene

from vist3a.generation.improvement import ImprovementSettings, improve
from vist3a.generation.refinement import LEAST_GAIN, RefinementSettings, refine
from vist3a.metrics.image import psnr
from vist3a.records import Gaussians, Reconstruction
from vist3a.rendering.cpu import CpuRenderer

SIZE, VIEWS = 20, 7
RENDER = CpuRenderer()


def blurred() -> tuple[Reconstruction, torch.Tensor, Gaussians]:
    """Scene, frames, and splats that are too large, so that pictures are blurred."""
    scene, frames, _, _ = world_scene(1, 1, SIZE, VIEWS)
    gaussians = splats_of(scene, frames)
    return scene, frames, replace(gaussians, scales=2.0 * gaussians.scales)


def shown(gaussians: Gaussians, scene: Reconstruction, frames: torch.Tensor, views: list[int]) -> float:
    """Mean PSNR of views, by a formula that is not refinement's own."""
    drawn = RENDER(gaussians, scene.cameras[:, views], (SIZE, SIZE)).rgb.clamp(0, 1)
    return float(psnr(drawn, frames[:, views]).mean())


def test_frames_aside_are_shown_better_and_are_not_fitted() -> None:
    scene, frames, gaussians = blurred()
    said: list[dict[str, float]] = []
    settings = RefinementSettings(refine_steps=40, refine_views=2)
    refined = refine(gaussians, scene, frames, RENDER, settings, log=lambda _, row: said.append(row))
    # Every fourth, from the third on.
    assert refined.before == pytest.approx(shown(gaussians, scene, frames, [2, 6]), abs=1e-3)
    assert refined.after == pytest.approx(shown(refined.gaussians, scene, frames, [2, 6]), abs=1e-3)
    assert refined.after > refined.before + 1 and refined.steps > 0
    assert max(row["aside_db"] for row in said) == refined.after
    # What the frames aside show plays no part but to judge.
    other = frames.clone()
    other[:, [2, 6]] = frames[:, [2, 6]] * 0.999
    again = refine(gaussians, scene, other, RENDER, settings)
    assert again.steps == refined.steps and torch.equal(again.gaussians.means, refined.gaussians.means)


def test_it_stops_by_itself_and_never_gives_worse() -> None:
    scene, frames, gaussians = blurred()
    steps: list[int] = []
    noise = frames.clone()
    # Frames to fit are noise, those aside are not: whatever is learned is wrong.
    fitted = [0, 1, 3, 4, 5]
    noise[:, fitted] = torch.rand(noise[:, fitted].shape, generator=torch.Generator().manual_seed(0))
    settings = RefinementSettings(refine_steps=500, refine_patience=20, refine_rate=30.0)
    refined = refine(gaussians, scene, noise, RENDER, settings, log=lambda step, _: steps.append(step))
    assert steps == [10, 20]
    assert refined.steps == 0 and refined.before == refined.after and refined.judged
    for name in ("means", "scales", "rotations", "opacities", "harmonics"):
        assert getattr(refined.gaussians, name) is not None
        assert torch.equal(getattr(refined.gaussians, name), getattr(gaussians, name))


def test_the_same_seed_gives_the_same_and_another_another() -> None:
    scene, frames, gaussians = blurred()
    settings = RefinementSettings(refine_steps=10)
    first, same = (refine(gaussians, scene, frames, RENDER, settings, seed=3).gaussians for _ in range(2))
    other = refine(gaussians, scene, frames, RENDER, settings, seed=4).gaussians
    assert torch.equal(first.harmonics, same.harmonics) and not torch.equal(first.harmonics, other.harmonics)
    assert bool((first.opacities >= 0).all() and (first.opacities <= 1).all() and (first.scales > 0).all())
    torch.testing.assert_close(first.rotations.norm(dim=-1), torch.ones_like(first.opacities))


def test_of_two_frames_none_can_be_spared() -> None:
    scene, frames, _, _ = world_scene(1, 1, SIZE, 2)
    gaussians = splats_of(scene, frames)
    refined = refine(gaussians, scene, frames, RENDER, RefinementSettings(refine_steps=10))
    assert refined.steps == 0 and not refined.judged and torch.equal(refined.gaussians.means, gaussians.means)


def test_only_what_is_asked_for_is_done() -> None:
    scene, frames, gaussians = blurred()
    same, figures = improve(gaussians, scene, frames, RENDER, ImprovementSettings())
    assert same is gaussians and list(figures) == ["off_path_db"]
    assert improve(gaussians, scene, frames, RENDER, ImprovementSettings(off_path=False))[1] == {}
    with torch.no_grad():
        better, figures = improve(gaussians, scene, frames, RENDER, ImprovementSettings(refine_steps=20, filter=True))
    assert figures["refine_aside_db"] > figures["refine_aside_before_db"] + LEAST_GAIN
    assert figures["off_path_db"] > improve(gaussians, scene, frames, RENDER, ImprovementSettings())[1]["off_path_db"]
    assert not better.means.requires_grad


def test_a_gain_that_is_hardly_one_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    scene, frames, gaussians = blurred()
    monkeypatch.setattr("vist3a.generation.refinement.LEAST_GAIN", 100.0)
    refined = refine(gaussians, scene, frames, RENDER, RefinementSettings(refine_steps=10))
    assert refined.steps == 0 and refined.after == refined.before
    assert torch.equal(refined.gaussians.harmonics, gaussians.harmonics)

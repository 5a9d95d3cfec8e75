"""Pruning, budgets and voxel fusion."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch
from gaussian_cases import covariances, some_gaussians
from hypothesis import given, settings
from hypothesis import strategies as st

from vist3a.export.thinning import footprint, fuse_points, fuse_voxels, prune
from vist3a.records import Cameras, Gaussians
from vist3a.rendering.cpu import CpuRenderer


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.floats(0, 1), st.integers(1, 80), st.integers(0, 1000))
def test_pruning_keeps_the_most_seen_in_order(count: int, threshold: float, budget: int, seed: int) -> None:
    gaussians = some_gaussians(1, count, seed)
    kept = prune(gaussians, min_opacity=threshold, max_gaussians=budget)
    places = [int((gaussians.means[0] == mean).all(-1).nonzero()[0]) for mean in kept.means[0]]
    assert places == sorted(places)
    allowed = (gaussians.opacities[0] >= threshold).nonzero()[:, 0].tolist()
    assert len(places) == min(budget, len(allowed)) and set(places) <= set(allowed)
    size = footprint(gaussians)
    dropped = sorted(set(allowed) - set(places))
    assert not places or not dropped or size[places].min() >= size[dropped].max()


def test_nothing_asked_is_nothing_done() -> None:
    gaussians = some_gaussians(4)
    assert all(torch.equal(getattr(prune(gaussians), f.name), getattr(gaussians, f.name)) for f in fields(gaussians))
    with pytest.raises(ValueError, match="at least 1, not 0"):
        prune(gaussians, max_gaussians=0)


def test_a_budget_by_footprint_keeps_more_of_the_picture_than_one_by_chance() -> None:
    g = some_gaussians(1, 2000)
    gaussians = replace(g, means=0.5 * g.means + torch.tensor([0.0, 0.0, 3.0]))
    camera = Cameras(torch.eye(4)[None, None], torch.tensor([[50.0, 0, 24], [0, 50, 24], [0, 0, 1]])[None, None])

    def error(kept: Gaussians) -> torch.Tensor:
        render = CpuRenderer()
        return (render(kept, camera, (48, 48)).rgb - render(gaussians, camera, (48, 48)).rgb).square().mean()

    chosen = error(prune(gaussians, max_gaussians=500, cameras=camera[0]))
    assert chosen < 0.5 * error(gaussians.select(0, torch.arange(0, 2000, 4)))


def test_fusion_keeps_mass_mean_and_covariance() -> None:
    """One huge voxel, against the moments computed directly."""
    gaussians = some_gaussians(4, 25)
    shifted = replace(gaussians, means=gaussians.means + 100)
    fused = fuse_voxels(shifted, 200.0)
    weight = (shifted.opacities[0] / shifted.opacities[0].sum()).double()
    means = shifted.means[0].double()
    mean = (weight[:, None] * means).sum(0)
    apart = means - mean
    covariance = (weight[:, None, None] * (covariances(shifted) + apart[:, :, None] * apart[:, None, :])).sum(0)
    torch.testing.assert_close(fused.means[0, 0].double(), mean, rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(covariances(fused)[0], covariance, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(fused.opacities[0, 0], 1 - (1 - shifted.opacities[0]).prod())
    expected = (weight[:, None, None] * shifted.harmonics[0].double()).sum(0)
    torch.testing.assert_close(fused.harmonics[0, 0].double(), expected, rtol=1e-5, atol=1e-6)


def test_fusion_of_lonely_gaussians_changes_nothing_to_be_seen() -> None:
    gaussians = some_gaussians(4, 20)
    fused = fuse_voxels(gaussians, 1e-5)
    order, old = fused.means[0, :, 0].argsort(), gaussians.means[0, :, 0].argsort()
    torch.testing.assert_close(fused.means[0, order], gaussians.means[0, old])
    torch.testing.assert_close(covariances(fused)[order], covariances(gaussians)[old], rtol=1e-4, atol=1e-9)
    torch.testing.assert_close(fused.opacities[0, order], gaussians.opacities[0, old], rtol=1e-5, atol=1e-6)


def test_points_are_fused_by_confidence() -> None:
    points = torch.tensor([[0.1, 0.1, 0.1], [0.3, 0.1, 0.1], [-0.1, 0.2, 0.2]])
    colors = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]])
    xyz, rgb, trust = fuse_points(points, colors, torch.tensor([1.0, 3.0, 2.0]), 1.0)
    torch.testing.assert_close(xyz, torch.tensor([[-0.1, 0.2, 0.2], [0.25, 0.1, 0.1]]))
    torch.testing.assert_close(rgb, torch.tensor([[0.0, 0, 1], [0.25, 0.75, 0]]))
    assert trust.tolist() == [2.0, 3.0]
    with pytest.raises(ValueError, match="voxel_size must be positive, not 0"):
        fuse_points(points, colors, trust.new_ones(3), 0.0)

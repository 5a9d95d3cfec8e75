"""Pruning, budgets and voxel fusion."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import pytest
import torch
from gaussian_cases import covariances, some_gaussians
from hypothesis import given, settings
from hypothesis import strategies as st

from vist3a.export.thinning import footprint, fuse_points, fuse_voxels, prune
from vist3a.geometry.quaternion import rotation_from_quaternion
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


def grouped(points: torch.Tensor, size: float) -> dict[tuple[int, ...], list[int]]:
    """Numbers of the points in each voxel, in the order of their cells."""
    cells: dict[tuple[int, ...], list[int]] = {}
    for i, point in enumerate(points.double().tolist()):
        cells.setdefault(tuple(math.floor(x / size) for x in point), []).append(i)
    return dict(sorted(cells.items()))


def test_fusion_goes_voxel_by_voxel() -> None:
    """Against a loop over the voxels, on both sides of the origin; a voxel of transparent Gaussians is their plain mean."""
    gaussians = some_gaussians(4, 60)
    opacities = gaussians.opacities.clone()
    cells = grouped(gaussians.means[0], 0.9)
    several = [members for members in cells.values() if len(members) > 1]
    opacities[0, several[0]] = 0.0
    opacities[0, several[1][0]] = 1.0
    gaussians = replace(gaussians, opacities=opacities)
    fused = fuse_voxels(gaussians, 0.9)
    assert fused.means.shape[1] == len(cells) and len(several) > 5 and fused.means.dtype == torch.float32
    assert bool((torch.linalg.det(rotation_from_quaternion(fused.rotations[0])) > 0.999).all())
    spread = covariances(gaussians)
    for place, members in enumerate(cells.values()):
        mass = opacities[0, members].double()
        weight = mass / mass.sum() if bool(mass.any()) else torch.full_like(mass, 1 / len(members))
        means = gaussians.means[0, members].double()
        mean = weight @ means
        apart = means - mean
        expected = sum(w * (s + a[:, None] * a) for w, s, a in zip(weight, spread[members], apart, strict=True))
        torch.testing.assert_close(fused.means[0, place].double(), mean, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(covariances(fused)[place], expected, rtol=1e-3, atol=1e-6)
        left = math.prod(1 - o for o in mass.tolist())
        assert float(fused.opacities[0, place]) == pytest.approx(1 - left, abs=1e-6)
        colors = torch.einsum("n,nbc->bc", weight, gaussians.harmonics[0, members].double())
        torch.testing.assert_close(fused.harmonics[0, place].double(), colors, rtol=1e-5, atol=1e-6)


def test_flat_and_solid_gaussians_are_fused_into_finite_ones() -> None:
    gaussians = some_gaussians(1, 30)
    scales = gaussians.scales.clone()
    scales[..., 2] = 0
    scales[:, ::3] = 0
    solid = replace(gaussians, scales=scales, opacities=torch.ones_like(gaussians.opacities))
    for size in (1e-4, 0.7, 50.0):
        fused = fuse_voxels(solid, size)
        assert all(bool(getattr(fused, f.name).isfinite().all()) for f in fields(fused))
        assert bool((fused.opacities == 1).all()) and bool((fused.scales >= 0).all())


def test_points_are_fused_voxel_by_voxel() -> None:
    g = torch.Generator().manual_seed(3)
    points, colors, trust = torch.randn(80, 3, generator=g), torch.rand(80, 3, generator=g), torch.rand(80, generator=g)
    cells = grouped(points, 0.8)
    several = [members for members in cells.values() if len(members) > 1]
    trust[several[0]] = 0.0
    xyz, rgb, highest = fuse_points(points, colors, trust, 0.8)
    assert len(xyz) == len(cells)
    for place, members in enumerate(cells.values()):
        weight = trust[members] / trust[members].sum() if place != list(cells.values()).index(several[0]) else (
            torch.full((len(members),), 1 / len(members))
        )  # fmt: skip
        torch.testing.assert_close(xyz[place], weight @ points[members])
        torch.testing.assert_close(rgb[place], weight @ colors[members])
        assert float(highest[place]) == float(trust[members].max())


def test_what_is_seen_is_opacity_times_the_two_largest_sides_over_the_squared_distance() -> None:
    gaussians = some_gaussians(1, 50)
    pose = torch.eye(4).repeat(3, 1, 1)
    pose[:, :3, 3] = torch.tensor([[0.0, 0, 0], [2, 0, 1], [0, -3, 0]])
    cameras = Cameras(pose, torch.eye(3).repeat(3, 1, 1))
    for found, seen_from in ((footprint(gaussians), None), (footprint(gaussians, cameras), cameras)):
        for i in range(50):
            _, middle, largest = sorted(gaussians.scales[0, i].tolist())
            away = 1.0
            if seen_from is not None:
                away = min(math.dist(gaussians.means[0, i].tolist(), (-row).tolist()) for row in pose[:, :3, 3])
            assert float(found[i]) == pytest.approx(
                float(gaussians.opacities[0, i]) * middle * largest / away**2, rel=1e-3
            )
    # At the very place of a camera it is large and no NaN.
    at = replace(gaussians, means=-pose[1, :3, 3].expand(1, 50, 3).clone())
    assert bool(footprint(at, cameras).isfinite().all())


def test_of_equals_the_first_stay_and_cameras_decide() -> None:
    g = some_gaussians(1, 1)
    equal = Gaussians(*(getattr(g, f.name).expand(1, 6, *getattr(g, f.name).shape[2:]).clone() for f in fields(g)))
    equal = replace(equal, means=torch.arange(6.0)[None, :, None].expand(1, 6, 3).clone())
    assert prune(equal, max_gaussians=4).means[0, :, 0].tolist() == [0, 1, 2, 3]
    pose = torch.eye(4)[None].clone()
    pose[0, :3, 3] = -5.0
    near = prune(equal, max_gaussians=2, cameras=Cameras(pose, torch.eye(3)[None]))
    assert near.means[0, :, 0].tolist() == [4, 5]
    # The border itself stays.
    assert prune(equal, min_opacity=float(equal.opacities[0, 0])).means.shape[1] == 6


def test_points_are_fused_by_confidence() -> None:
    points = torch.tensor([[0.1, 0.1, 0.1], [0.3, 0.1, 0.1], [-0.1, 0.2, 0.2]])
    colors = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]])
    xyz, rgb, trust = fuse_points(points, colors, torch.tensor([1.0, 3.0, 2.0]), 1.0)
    torch.testing.assert_close(xyz, torch.tensor([[-0.1, 0.2, 0.2], [0.25, 0.1, 0.1]]))
    torch.testing.assert_close(rgb, torch.tensor([[0.0, 0, 1], [0.25, 0.75, 0]]))
    assert trust.tolist() == [2.0, 3.0]
    with pytest.raises(ValueError, match="voxel_size must be positive, not 0"):
        fuse_points(points, colors, trust.new_ones(3), 0.0)

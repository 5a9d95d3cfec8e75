"""Geometry rewards of two scenes, with lenses that differ, against loops over views and pixels; names of terms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from vist3a.alignment.rewards.base import Views
from vist3a.alignment.rewards.consistency import PerceptualConsistency, feature_distance
from vist3a.alignment.rewards.geometry import (
    CameraMotion,
    CameraSmoothness,
    PointmapCameraConsistency,
    ReprojectionConsistency,
    coarse_path,
)
from vist3a.alignment.rewards.terms import is_term, registered, renders, term_names, weighted_terms
from vist3a.geometry.projection import unproject_depth
from vist3a.records import Cameras, Gaussians, Reconstruction

HEIGHT, WIDTH = 6, 9


def scene(views: int, seed: int = 0, turn: float = 0.08) -> Reconstruction:
    """Two scenes of noisy depth and points beside it, seen by cameras that turn and move, each with a lens of its own."""
    random = np.random.default_rng(seed)
    pose = np.tile(np.eye(4), (2, views, 1, 1))
    pose[..., :3, :3] = (
        Rotation.from_rotvec(turn * random.normal(size=(2 * views, 3))).as_matrix().reshape(2, views, 3, 3)
    )
    pose[..., :3, 3] = 0.25 * random.normal(size=(2, views, 3))
    k = np.tile(np.eye(3), (2, views, 1, 1))
    k[..., 0, 0], k[..., 1, 1] = random.uniform(6, 9, (2, 2, views))
    k[..., 0, 2], k[..., 1, 2] = random.uniform(2, 6, (2, 2, views))
    cameras = Cameras(torch.from_numpy(pose), torch.from_numpy(k))
    depth = torch.from_numpy(random.uniform(1.5, 2.5, (2, views, HEIGHT, WIDTH)))
    points = unproject_depth(depth, cameras) + 0.05 * torch.from_numpy(random.normal(size=(2, views, HEIGHT, WIDTH, 3)))
    # One point lies behind every camera.
    points[:, 0, 1, 1] = torch.tensor([0.0, 0.0, -5.0])
    return Reconstruction(cameras, depth, torch.ones_like(depth), points, torch.ones_like(depth))


def seen(of: Reconstruction, cameras: Cameras | None = None) -> Views:
    made = (
        of
        if cameras is None
        else Reconstruction(cameras, of.depth, of.depth_confidence, of.points, of.points_confidence)
    )
    return Views(None, None, ("a", "b"), made)


def projected(of: Reconstruction, b: int, v: int, point: np.ndarray) -> tuple[float, float, float]:
    pose, k = of.cameras.world_to_camera[b, v].numpy(), of.cameras.intrinsics[b, v].numpy()
    local = pose[:3, :3] @ point + pose[:3, 3]
    x, y, z = k @ local
    return x / z, y / z, local[2]


@pytest.mark.parametrize(("views", "gap", "tolerance"), [(5, 2, 0.1), (3, 4, 0.05), (6, 4, 0.05), (2, 1, 0.2)])
def test_reprojection_is_a_mean_over_pairs_of_means_over_common_points(views: int, gap: int, tolerance: float) -> None:
    of = scene(views)
    found = ReprojectionConsistency(gap, tolerance)(seen(of))
    gap = min(gap, views - 1)
    for b in range(2):
        costs = []
        for i, j in [(a, a + gap) for a in range(views - gap)] + [(a + gap, a) for a in range(views - gap)]:
            own = []
            for row, column in np.ndindex(HEIGHT, WIDTH):
                x, y, z = projected(of, b, j, of.points[b, i, row, column].numpy())
                if not (0 < x < WIDTH and 0 < y < HEIGHT and z > 0):
                    continue
                x, y = min(max(x - 0.5, 0), WIDTH - 1), min(max(y - 0.5, 0), HEIGHT - 1)
                left, top = min(int(x), WIDTH - 2), min(int(y), HEIGHT - 2)
                patch, s, t = of.depth[b, j, top : top + 2, left : left + 2].numpy(), x - left, y - top
                d = np.array([1 - t, t]) @ patch @ np.array([1 - s, s])
                error = abs(d - z) / (d + z)
                own.append(error / (error + tolerance))
            costs.append(np.mean(own) if own else 1.0)
        assert float(found[b]) == pytest.approx(-np.mean(costs), rel=1e-9)
    if (gap, tolerance) == (4, 0.05):
        assert torch.equal(found, ReprojectionConsistency()(seen(of)))


@pytest.mark.parametrize(("step", "common"), [(2, 1), (3, 0)])
def test_one_common_point_counts_whole_and_none_costs_one_with_a_gradient(step: int, common: int) -> None:
    """Rows of three pixels on a wall 2 away, seen from so many pixels to the side."""
    k = torch.tensor([[4.0, 0, 1.5], [0, 4.0, 0.5], [0, 0, 1]], dtype=torch.float64).expand(1, 2, 3, 3)
    pose = torch.eye(4, dtype=torch.float64).repeat(1, 2, 1, 1)
    pose[0, 1, 0, 3] = -step * 2 / 4
    depth = torch.full((1, 2, 1, 3), 2.0, dtype=torch.float64)
    wrong = depth.clone()
    wrong[0, 1] = 3.0
    points = unproject_depth(depth, Cameras(pose, k)).requires_grad_()
    learned = wrong.clone().requires_grad_()
    made = Reconstruction(Cameras(pose, k), learned, torch.ones_like(depth), points, torch.ones_like(depth))
    score = ReprojectionConsistency(1, 0.05)(Views(None, None, ("a",), made))
    error = abs(3 - 2) / (3 + 2)
    # From the first view to the second the depth is wrong, back it is right.
    assert float(score.detach()) == pytest.approx(-(error / (error + 0.05)) / 2 if common else -1)
    by_depth, by_points = torch.autograd.grad(score.sum(), (learned, points), allow_unused=True)
    for gradient in (by_depth, by_points):
        assert gradient is None or bool(gradient.isfinite().all())


def test_points_are_held_against_their_own_pixels_in_widths() -> None:
    of = scene(3)
    found = PointmapCameraConsistency()(seen(of))
    for b in range(2):
        costs = []
        for v in range(3):
            for row, column in np.ndindex(HEIGHT, WIDTH):
                x, y, z = projected(of, b, v, of.points[b, v, row, column].numpy())
                apart = math.hypot((x - column - 0.5) / WIDTH, (y - row - 0.5) / WIDTH, 5e-4) - 5e-4
                costs.append(apart / (1 + apart / 0.1) if z > 0 else 0.1)
        assert float(found[b]) == pytest.approx(-np.mean(costs), rel=1e-9)


def test_smoothness_is_of_steps_and_turns_one_by_one() -> None:
    of = scene(5, turn=0.4)
    found = CameraSmoothness()(seen(of))
    for b in range(2):
        centers, turns = of.cameras.centers[b].numpy(), of.cameras.world_to_camera[b, :, :3, :3].numpy()
        steps = [centers[i + 1] - centers[i] for i in range(4)]
        shaking = np.mean([((steps[i + 1] - steps[i]) ** 2).sum() for i in range(3)]) / np.mean(
            [(s**2).sum() for s in steps]
        )
        rates = [turns[i + 1] @ turns[i].T for i in range(4)]
        angles = [Rotation.from_matrix(rates[i + 1] @ rates[i].T).magnitude() for i in range(3)]
        assert float(found[b]) == pytest.approx(-shaking - np.mean([2 * (1 - np.cos(a)) for a in angles]), rel=1e-9)
    for views in (1, 2):
        assert CameraSmoothness()(seen(scene(views))).tolist() == [0, 0]
    assert (CameraSmoothness()(seen(scene(3))) < 0).all()


@pytest.mark.parametrize("gap", [1, 3, 4])
def test_a_path_is_between_every_so_many_views_over_the_median_depth(gap: int) -> None:
    of = scene(9)
    path = coarse_path(of, gap)
    for b in range(2):
        stops = of.cameras.centers[b, ::gap].numpy()
        length = sum(np.linalg.norm(stops[i + 1] - stops[i]) for i in range(len(stops) - 1))
        middle = np.sort(of.depth[b].flatten().numpy())[(of.depth[b].numel() - 1) // 2]
        assert float(path[b]) == pytest.approx(length / middle)
        for wanted in (0.5 * float(path[b]), 2 * float(path[b])):
            expected = -max(0, 1 - float(path[b]) / wanted)
            assert float(CameraMotion(wanted, gap)(seen(of))[b]) == pytest.approx(expected)
    assert torch.equal(coarse_path(of), coarse_path(of, 4))
    assert torch.equal(CameraMotion(9.0)(seen(of)), CameraMotion(9.0, 4)(seen(of)))


def test_a_camera_that_stands_has_a_gradient() -> None:
    of = scene(5)
    flat = Reconstruction(of.cameras, 0 * of.depth, of.depth_confidence, of.points, of.points_confidence)
    assert bool(coarse_path(flat, 1).isfinite().all())
    pose = of.cameras.world_to_camera.detach()[:, :1].repeat(1, 5, 1, 1).requires_grad_()
    still = Cameras(pose, of.cameras.intrinsics)
    for term in (CameraMotion(0.3, 1), CameraSmoothness()):
        score = term(seen(of, still))
        (gradient,) = torch.autograd.grad(score.sum(), pose)
        assert bool(gradient.isfinite().all())
    assert CameraMotion(0.3)(seen(of, still)).tolist() == pytest.approx([-1, -1], abs=1e-6)


def test_feature_distances_are_of_unit_channels_place_by_place() -> None:
    """Maps that are wider than high and of several channels, in images of [-1, 1]."""
    random = torch.Generator().manual_seed(0)
    one, other = (torch.rand(3, 3, 4, 5, generator=random, dtype=torch.float64) for _ in range(2))

    def maps(images: torch.Tensor) -> list[torch.Tensor]:
        return [torch.cat([images, images.square()], 1), images[..., ::2] + 0.1]

    found = feature_distance(maps)(one, other)
    for i in range(3):
        terms = []
        for a, b in zip(maps(2 * one[i : i + 1] - 1), maps(2 * other[i : i + 1] - 1), strict=True):
            places = [
                float(((a[0, :, y, x] / a[0, :, y, x].norm() - b[0, :, y, x] / b[0, :, y, x].norm()) ** 2).sum())
                for y, x in np.ndindex(*a.shape[2:])
            ]
            terms.append(np.mean(places))
        assert float(found[i]) == pytest.approx(np.mean(terms))


def test_distances_are_of_decoded_frames_to_their_renderings() -> None:
    """In this order, pair by pair; a distance need not be the same from either side."""
    decoded, rendered = (torch.rand(2, 3, 3, 4, 5, dtype=torch.float64) for _ in range(2))

    def rise(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return (other - one).clamp(min=0).square().mean((1, 2, 3))

    found = PerceptualConsistency(rise)(Views(decoded, rendered, ("a", "b")))
    expected = -(rendered - decoded).clamp(min=0).square().mean((1, 2, 3, 4))
    torch.testing.assert_close(found, expected)


class Few:
    """A term as somebody else writes it."""

    needs = frozenset({"gaussians"})

    def __call__(self, views: Views) -> torch.Tensor:
        return -views.gaussians().opacities.sum(1)


class Frames(Few):
    needs = frozenset({"decoded"})


def test_terms_by_place_are_terms_and_say_what_they_need() -> None:
    here = f"{__name__}:Few"
    assert is_term(here, ()) and is_term("reprojection", ()) and is_term("x_decoded", ("x",))
    assert not is_term("x_decoded", ()) and not is_term("nobody", ("x",))
    assert renders(here) and not renders(f"{__name__}:Frames")
    assert not renders("reprojection") and not renders("x_decoded")
    assert len(set(term_names(("x", "y")))) == len(term_names(("x", "y")))
    total = weighted_terms({here: 2.0}, {}, None)
    assert total.needs == {"gaussians"} and isinstance(total.terms[here], Few)
    with pytest.raises(ValueError, match=r"reward term '.*:nothing' is a NoneType; allowed: a vist3a"):
        registered(f"{__name__}:nothing")
    for name in ("consistency_perceptual", "text_decoded", "text_other"):
        with pytest.raises(ValueError, match=f"reward term '{name}'; allowed"):
            weighted_terms({name: 1.0}, {}, None)


def nothing() -> None:
    """No reward."""


def test_gaussians_are_asked_for_by_name() -> None:
    of = scene(2)
    g = Gaussians(*(torch.ones(2, 4, *s, dtype=torch.float64) for s in ((3,), (3,), (4,), (), (1, 3))))
    made = Reconstruction(of.cameras, of.depth, of.depth_confidence, of.points, of.points_confidence, gaussians=g)
    assert Few()(Views(None, None, ("a", "b"), made)).tolist() == [-4, -4]
    for without in (None, of):
        with pytest.raises(ValueError, match="reads Gaussians, and there are none"):
            Few()(Views(None, None, ("a", "b"), without))
    with pytest.raises(ValueError, match="reads the 3D, and there is none"):
        Views(None, None, ("a",)).geometry()
    assert seen(of).geometry() is of

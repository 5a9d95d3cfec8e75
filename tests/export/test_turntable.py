"""Camera paths against scipy's splines and turns, frame by frame, and the borders of what is allowed."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from gaussian_cases import some_gaussians
from scipy.interpolate import CubicHermiteSpline
from scipy.spatial.transform import Rotation

from vist3a.export.smoothing import close_gaps
from vist3a.export.turntable import flight, orbit, render_path, turntable_path
from vist3a.records import Cameras
from vist3a.rendering.cpu import CpuRenderer


def turning_cameras(views: int, seed: int = 0) -> Cameras:
    """Uneven places, lenses of their own, turns that add up to more than a half: the scalar of a quaternion changes sign."""
    random = np.random.default_rng(seed)
    pose = np.tile(np.eye(4), (views, 1, 1))
    turns = Rotation.from_rotvec(np.linspace(0, 1.6 * math.pi, views)[:, None] * np.array([2, -1, 2]) / 3)
    pose[:, :3, :3], pose[:, :3, 3] = turns.as_matrix(), random.normal(size=(views, 3))
    k = np.tile(np.eye(3), (views, 1, 1))
    k[:, 0, 0], k[:, 1, 1] = random.uniform(20, 40, (2, views))
    k[:, 0, 2], k[:, 1, 2] = random.uniform(5, 15, (2, views))
    return Cameras(torch.from_numpy(pose), torch.from_numpy(k))


def catmull_rom(knots: np.ndarray, time: np.ndarray) -> np.ndarray:
    """scipy's Hermite spline with half the distance of both neighbors as slopes; the ends are mirrored."""
    around = np.concatenate([2 * knots[:1] - knots[1:2], knots, 2 * knots[-1:] - knots[-2:-1]])
    return np.asarray(CubicHermiteSpline(np.arange(len(knots)), knots, (around[2:] - around[:-2]) / 2)(time))


@pytest.mark.parametrize(("views", "frames"), [(6, 23), (2, 7), (3, 3), (4, 1)])
def test_a_flight_is_a_spline_of_centers_quaternions_and_lenses(views: int, frames: int) -> None:
    cameras = turning_cameras(views)
    found, time = flight(cameras, frames), np.linspace(0, views - 1, frames)
    quaternions = Rotation.from_matrix(cameras.world_to_camera[:, :3, :3].numpy()).as_quat()
    for i in range(1, views):
        quaternions[i] *= 1 if quaternions[i] @ quaternions[i - 1] > 0 else -1
    turns = Rotation.from_quat(catmull_rom(quaternions, time)).as_matrix()
    np.testing.assert_allclose(found.world_to_camera[:, :3, :3], turns, atol=1e-9)
    np.testing.assert_allclose(found.centers, catmull_rom(cameras.centers.numpy(), time), atol=1e-9)
    np.testing.assert_allclose(found.intrinsics, catmull_rom(cameras.intrinsics.numpy(), time), atol=1e-9)
    assert found.world_to_camera[:, 3].tolist() == [[0, 0, 0, 1]] * frames


@pytest.mark.parametrize("degrees", [None, 20.0])
def test_an_orbit_turns_about_the_pivot_on_a_loop_that_opens_and_closes(degrees: float | None) -> None:
    camera, depth, frames = turning_cameras(3)[1], 2.5, 9
    path = orbit(camera, depth, frames) if degrees is None else orbit(camera, depth, frames, degrees)
    pose = camera.world_to_camera.numpy()
    pivot = pose[:3, :3].T @ (np.array([0, 0, depth]) - pose[:3, 3])
    for t, found in zip(np.linspace(0, 1, frames), path.world_to_camera.numpy(), strict=True):
        axis = np.array([math.cos(2 * math.pi * t), math.sin(2 * math.pi * t), 0])
        tilt = Rotation.from_rotvec(math.radians(degrees or 8.0) * math.sin(math.pi * t) * axis).as_matrix()
        np.testing.assert_allclose(found[:3, :3], tilt @ pose[:3, :3], atol=1e-9)
        # Wherever it looks from, the pivot is as far ahead.
        np.testing.assert_allclose(found[:3, :3] @ pivot + found[:3, 3], [0, 0, depth], atol=1e-9)
    assert torch.equal(path.intrinsics, camera.intrinsics.expand(frames, 3, 3))


@pytest.mark.parametrize(
    ("views", "frames", "flown"), [(4, 30, 20), (4, 4, 3), (2, 2, 1), (3, 1, 1), (1, 6, 1), (1, 1, 1)]
)
def test_a_turntable_is_two_thirds_of_flight_and_the_orbit_of_the_last_view(
    views: int, frames: int, flown: int
) -> None:
    cameras = turning_cameras(views)
    path = turntable_path(cameras, 2.0, frames, degrees=11.0)
    assert len(path.world_to_camera) == len(path.intrinsics) == frames
    first, rest = flight(cameras, flown), orbit(cameras[-1], 2.0, frames - flown + 1, 11.0)
    for name in ("world_to_camera", "intrinsics"):
        assert torch.equal(getattr(path, name)[:flown], getattr(first, name))
        assert torch.equal(getattr(path, name)[flown:], getattr(rest, name)[1:])
    standard = turntable_path(cameras, 2.0)
    assert torch.equal(standard.world_to_camera, turntable_path(cameras, 2.0, 60, 8.0).world_to_camera)


def test_paths_need_a_frame_and_a_pivot_ahead() -> None:
    cameras = turning_cameras(2)
    with pytest.raises(ValueError, match="at least one frame, not 0"):
        flight(cameras, 0)
    for frames, pivot in ((0, 1.0), (1, 0.0), (1, -1.0)):
        with pytest.raises(ValueError, match=f"not {frames} and {pivot}"):
            orbit(cameras[0], pivot, frames)
    torch.testing.assert_close(orbit(cameras[0], 1e-3, 1).world_to_camera[0], cameras[0].world_to_camera)


def test_frames_of_a_path_are_on_the_given_background_and_displayable() -> None:
    gaussians = some_gaussians(1, 20)
    bright = type(gaussians)(
        0.3 * gaussians.means + torch.tensor([0.0, 0.0, 4.0]), 3 * gaussians.scales, gaussians.rotations, gaussians.opacities,
        gaussians.harmonics * 4,
    )  # fmt: skip
    k = torch.tensor([[20.0, 0, 9], [0, 22, 7], [0, 0, 1]])
    cameras = Cameras(torch.eye(4).repeat(3, 1, 1), k.repeat(3, 1, 1))
    background = torch.tensor([0.25, 0.5, 0.75])
    frames = render_path(bright, cameras, (14, 18), CpuRenderer(), background)
    raw = CpuRenderer()(bright, cameras[None], (14, 18), background).rgb[0]
    assert raw.max() > 1
    assert torch.equal(frames, raw.clamp(0, 1)) and not frames.requires_grad
    assert (frames == background[:, None, None]).all(1).any()
    white = render_path(bright, cameras, (14, 18), CpuRenderer())
    assert torch.equal((white == 1).all(1), (frames == background[:, None, None]).all(1))


def test_gaussians_grow_by_the_pixel_of_the_nearest_camera_before_them() -> None:
    """One by one: z over the vertical focal length, of cameras that have the Gaussian in front of them."""
    gaussians, cameras = some_gaussians(1, 60), turning_cameras(4, seed=1).to(dtype=torch.float32)
    found = close_gaps(gaussians, cameras, 0.3)
    seen = 0
    for i, mean in enumerate(gaussians.means[0].double().numpy()):
        pixels = []
        for pose, k in zip(cameras.world_to_camera.double().numpy(), cameras.intrinsics.double().numpy(), strict=True):
            z = float(pose[2, :3] @ mean + pose[2, 3])
            if z > 0.01:
                pixels.append(z / k[1, 1])
        old = gaussians.scales[0, i].double().numpy()
        expected = np.sqrt(old**2 + 0.3 * min(pixels) ** 2) if pixels else old
        seen += bool(pixels)
        np.testing.assert_allclose(found.scales[0, i], expected, rtol=1e-5)
    assert 0 < seen < 60
    assert torch.equal(found.means, gaussians.means)
    torch.testing.assert_close(close_gaps(gaussians, cameras, 0.0).scales, gaussians.scales)
    with pytest.raises(ValueError, match="must not be negative, it is -1"):
        close_gaps(gaussians, cameras, -1.0)
    # Exactly on the near plane there is nothing to be seen from.
    k = torch.tensor([[20.0, 0, 9], [0, 2.0, 7], [0, 0, 1]])[None]
    at = type(gaussians)(torch.tensor([[[0.0, 0.0, 0.01], [0.0, 0.0, 0.02]]]), *(
        getattr(gaussians, name)[:, :2] for name in ("scales", "rotations", "opacities", "harmonics")
    ))  # fmt: skip
    grown = close_gaps(at, Cameras(torch.eye(4)[None], k), 1.0).scales[0]
    assert torch.equal(grown[0], at.scales[0, 0])
    torch.testing.assert_close(grown[1], (at.scales[0, 1].square() + 0.01**2).sqrt())

"""Smooth camera paths near a reconstruction's own cameras, and frames rendered along them."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.geometry.quaternion import quaternion_from_rotation, rotation_from_quaternion
from vist3a.records import Cameras, Gaussians
from vist3a.rendering.base import Renderer


def flight(cameras: Cameras, frames: int) -> Cameras:
    """``frames`` cameras from the first to the last view, through all of them (one batch axis: views).

    Centres, rotations (as quaternions, renormalised) and intrinsics follow Catmull-Rom splines with equal time between
    neighbouring views, so the flight has no corners.
    """
    views = cameras.world_to_camera.shape[0]
    if frames < 1:
        raise ValueError(f"a flight needs at least one frame, not {frames}")
    quaternions = quaternion_from_rotation(cameras.world_to_camera[:, :3, :3])
    # q and -q are the same rotation: take the sign that is nearer to the previous view.
    flips = torch.ones_like(quaternions[:, :1])
    flips[1:, 0] = torch.where((quaternions[1:] * quaternions[:-1]).sum(-1) < 0, -1.0, 1.0).to(flips)
    quaternions = quaternions * flips.cumprod(0)
    knots = torch.cat([cameras.centers, quaternions, cameras.intrinsics.flatten(1)], dim=-1)
    time = torch.linspace(0, views - 1, frames, dtype=knots.dtype, device=knots.device)
    centers, quaternions, intrinsics = _catmull_rom(knots, time).split([3, 4, 9], dim=-1)
    rotation = rotation_from_quaternion(quaternions)
    return _cameras(rotation, -(rotation @ centers[..., None])[..., 0], intrinsics.unflatten(-1, (3, 3)))


def orbit(camera: Cameras, pivot_depth: float, frames: int, degrees: float = 8.0) -> Cameras:
    """A small orbit of one camera (no batch axis) around the point ``pivot_depth`` ahead of it.

    The camera leaves its place in a loop that opens to ``degrees`` and closes again; it keeps looking at
    the pivot. The first and the last frame are the camera itself.
    """
    if frames < 1 or pivot_depth <= 0:
        raise ValueError(f"an orbit needs frames and a pivot in front of the camera, not {frames} and {pivot_depth}")
    pose = camera.world_to_camera
    t = torch.linspace(0, 1, frames, dtype=pose.dtype, device=pose.device)
    # Half angles, as quaternions want them; they open and close like a sine.
    half = 0.5 * math.radians(degrees) * torch.sin(math.pi * t)
    # The axis goes once around the viewing direction, which makes a loop of the tilt.
    axis = torch.stack([torch.cos(2 * math.pi * t), torch.sin(2 * math.pi * t), torch.zeros_like(t)], dim=-1)
    turn = rotation_from_quaternion(torch.cat([torch.cos(half)[:, None], torch.sin(half)[:, None] * axis], dim=-1))
    pivot = torch.tensor([0.0, 0.0, pivot_depth], dtype=pose.dtype, device=pose.device)
    rotation = turn @ pose[:3, :3]
    # In the camera's frame the world turns about the pivot.
    translation = turn @ (pose[:3, 3] - pivot) + pivot
    return _cameras(rotation, translation, camera.intrinsics.expand(frames, 3, 3))


def turntable_path(cameras: Cameras, pivot_depth: float, frames: int = 60, degrees: float = 8.0) -> Cameras:
    """The flight through all views (two thirds of the frames), then an orbit at the last one."""
    flown = round(frames * 2 / 3) if cameras.world_to_camera.shape[0] > 1 else 1
    path = flight(cameras, flown)
    if frames <= flown:
        return path
    # The orbit's first camera is the flight's last: leave it out.
    tail = orbit(cameras[-1], pivot_depth, frames - flown + 1, degrees)[1:]
    return Cameras(
        torch.cat([path.world_to_camera, tail.world_to_camera]), torch.cat([path.intrinsics, tail.intrinsics])
    )


@torch.no_grad()
def render_path(
    gaussians: Gaussians,
    path: Cameras,
    size: tuple[int, int],
    renderer: Renderer,
    background: Float[Tensor, " 3"] | None = None,
    chunk: int = 8,
) -> Float[Tensor, "frames 3 height width"]:
    """Frames of one set of Gaussians (a batch of one), clamped to [0, 1], ``chunk`` cameras at a time."""
    views = path.world_to_camera.shape[0]
    frames = [renderer(gaussians, path[None, i : i + chunk], size, background).rgb[0] for i in range(0, views, chunk)]
    return torch.cat(frames).clamp(0, 1)


def _catmull_rom(
    knots: Float[Tensor, "knots values"], time: Float[Tensor, " frames"]
) -> Float[Tensor, "frames values"]:
    """Uniform Catmull-Rom spline through ``knots`` at the times 0, 1, ..; the ends are extended by reflection."""
    if len(knots) == 1:
        return knots.expand(len(time), -1)
    padded = torch.cat([2 * knots[:1] - knots[1:2], knots, 2 * knots[-1:] - knots[-2:-1]])
    # The last knot is the end of the last piece, not the start of one more.
    start = time.floor().long().clamp(max=len(knots) - 2)
    u = (time - start)[:, None]
    p0, p1, p2, p3 = (padded[start + i] for i in range(4))
    return p1 + 0.5 * u * (p2 - p0 + u * (2 * p0 - 5 * p1 + 4 * p2 - p3 + u * (3 * (p1 - p2) + p3 - p0)))


def _cameras(
    rotation: Float[Tensor, "n 3 3"], translation: Float[Tensor, "n 3"], intrinsics: Float[Tensor, "n 3 3"]
) -> Cameras:
    top = torch.cat([rotation, translation[..., None]], dim=-1)
    bottom = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=top.dtype, device=top.device).expand(len(top), 1, 4)
    return Cameras(torch.cat([top, bottom], dim=-2), intrinsics)

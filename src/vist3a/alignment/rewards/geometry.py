"""Rewards that read the 3D alone: no frame is decoded, nothing is rendered. For networks without Gaussians, and any other.

All are blind to what is shown, and all but :class:`CameraMotion` are best for a camera that stands still: they belong beside the
generative loss and a term that keeps the camera moving.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vist3a.alignment.rewards.base import Need, Views
from vist3a.geometry.projection import pixel_grid, project
from vist3a.records import Reconstruction

SCENE: frozenset[Need] = frozenset({"scene"})
TOLERANCE = 0.05
"""Relative difference of two depths that costs one half; hidden surfaces, which differ more, cost at most 1."""
GAP = 4
FLOOR = 1e-8


class ReprojectionConsistency:
    """Minus the disagreement of every view's pointmap with the depth of the view ``gap`` further, both ways.

    A point that falls into the other view has depth z there, and that view says d at this place (bilinear): e = |d - z| / (d + z)
    costs e / (e + tolerance), averaged over such points. Two views without a common point cost 1.
    """

    needs = SCENE

    def __init__(self, gap: int = GAP, tolerance: float = TOLERANCE) -> None:
        self.gap, self.tolerance = gap, tolerance

    def __call__(self, views: Views) -> Float[Tensor, " batch"]:
        """Score in [-1, 0]."""
        scene = views.geometry()
        batch, count, height, width = scene.depth.shape
        if count == 1:
            return scene.depth.new_zeros(batch)
        gap = min(self.gap, count - 1)
        first = torch.arange(count - gap, device=scene.depth.device)
        here, there = torch.cat([first, first + gap]), torch.cat([first + gap, first])
        place, z = project(scene.points[:, here].flatten(2, 3), scene.cameras[:, there])
        size = place.new_tensor([width, height])
        inside = ((place > 0) & (place < size)).all(-1) & (z > FLOOR)
        # grid_sample without aligned corners: -1 and 1 are the outer edges of the outer pixels, as in this project.
        sample = torch.where(inside[..., None], place / size * 2 - 1, 0.0)
        seen = nn.functional.grid_sample(
            scene.depth[:, there].flatten(0, 1)[:, None], sample.flatten(0, 1)[:, None], padding_mode="border",
            align_corners=False,
        ).view(z.shape)  # fmt: skip
        z, seen = torch.where(inside, z, 1.0), torch.where(inside, seen, 1.0)
        error = (seen - z).abs() / (seen.abs() + z)
        cost = error / (error + self.tolerance)
        number = inside.sum(-1)
        per_pair = torch.where(inside, cost, 0.0).sum(-1) / number.clamp(min=1)
        return -torch.where(number > 0, per_pair, 1.0).mean(-1)


class PointmapCameraConsistency:
    """Minus the distance, in widths of the frame, between a pixel and where its own view's camera sees its point.

    Zero for networks that make points from depth and cameras; distances saturate at one tenth of the width.
    """

    needs = SCENE
    saturation = 0.1

    def __call__(self, views: Views) -> Float[Tensor, " batch"]:
        """Score in (-0.1, 0]."""
        scene = views.geometry()
        height, width = scene.depth.shape[-2:]
        grid = pixel_grid(height, width, device=scene.depth.device, dtype=scene.depth.dtype).flatten(0, 1)
        place, z = project(scene.points.flatten(2, 3), scene.cameras)
        # Half a thousandth of the width rounds off the tip at zero, where the distance has no slope.
        squared = ((place - grid) / width).square().sum(-1)
        distance = (squared + 2.5e-7).sqrt() - 5e-4
        cost = torch.where(z > FLOOR, distance / (1 + distance / self.saturation), self.saturation)
        return -cost.mean((-2, -1))


class CameraSmoothness:
    """Minus the changes of the camera's velocity, squared: of its centre relative to the mean squared step, and of its turning.

    Zero for a camera that moves and turns at constant rates. Turning is the rotation from one view to the next; two of them
    differ by 2 (1 - cos angle), about the square of the angle between them in radians.
    """

    needs = SCENE

    def __call__(self, views: Views) -> Float[Tensor, " batch"]:
        """Score <= 0; 0 for fewer than three views."""
        cameras = views.geometry().cameras
        rotation, centers = cameras.world_to_camera[..., :3, :3], cameras.centers
        if centers.shape[1] < 3:
            return centers.new_zeros(len(centers))
        step = centers[:, 1:] - centers[:, :-1]
        shaking = (step[:, 1:] - step[:, :-1]).square().sum(-1).mean(-1)
        shaking = shaking / step.square().sum(-1).mean(-1).clamp(min=FLOOR)
        turn = rotation[:, 1:] @ rotation[:, :-1].transpose(-1, -2)
        # The squared Frobenius distance of two rotations is 4 (1 - cos angle).
        turning = (turn[:, 1:] - turn[:, :-1]).square().sum((-2, -1)).mean(-1) / 2
        return -(shaking + turning)


class CameraMotion:
    """Minus the share of ``motion`` by which the camera's path falls short of it; 0 where the samples of a step together do not.

    A camera that stands still agrees with itself: the consistency terms alone bring any generator to a halt. The path is that
    between every fourth view, over the median depth (no unit), so that trembling does not count as motion.

    In alignment it is the mean path of a step that must not fall short (:attr:`Views.together`), and then every camera is asked
    to go further, however far it goes: as in true clips some paths are to be longer than others. Asked one by one, the few that
    stand would push all the others on and on, as they share their weights. The cost is linear: of a logarithm nearly all of the
    gradient would be that of the cameras that stand, which do not know where to go.

    Example:
        >>> CameraMotion(0.27)(views)  # half of the wanted path
        tensor([-0.5000])
    """

    needs = SCENE

    def __init__(self, motion: float, gap: int = GAP) -> None:
        if not motion > 0:
            raise ValueError(
                f"align.motion: {motion:g}; allowed: a length of the camera's path, in median depths, above 0"
            )
        self.motion, self.gap = motion, gap

    def __call__(self, views: Views) -> Float[Tensor, " batch"]:
        """Score of at least -1; of samples that stand alone at most 0."""
        path = coarse_path(views.geometry(), self.gap)
        return torch.where(views.together(path.detach()) < self.motion, path / self.motion - 1, 0.0)


def coarse_path(scene: Reconstruction, gap: int = GAP) -> Float[Tensor, " batch"]:
    """Length of the camera's path between every ``gap``-th view, over the median depth of the scene."""
    centers = scene.cameras.centers[:, ::gap]
    # The depth is only the unit: a scene must not become shallow to let its camera seem to move.
    unit = scene.depth.detach().flatten(1).median(dim=1).values.clamp(min=FLOOR)
    steps = (centers[:, 1:] - centers[:, :-1]).square().sum(-1)
    # A step of zero length has no direction: the root would have no gradient.
    return steps.clamp(min=FLOOR**2).sqrt().sum(1) / unit

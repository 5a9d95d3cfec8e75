"""Gaussians of Depth Anything 3: raw channels per pixel from a dense head that sees the image, and their meaning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vist3a.geometry.projection import pixel_grid
from vist3a.geometry.quaternion import quaternion_from_rotation, rotation_from_quaternion, xyzw_from_wxyz
from vist3a.geometry.spherical_harmonics import degree_of_bands, harmonics_rotation
from vist3a.networks.blocks.dpt_head import DPTHead
from vist3a.networks.blocks.gaussian_head import band_factors
from vist3a.networks.blocks.image_norm import normalise_images
from vist3a.records import Cameras, Gaussians

SCALE_UNIT = 0.1
"""Unit of the scales, in widths plus heights of a pixel at the Gaussian's distance: of square pixels a fifth of a side."""


class GaussianDPTHead(DPTHead):
    """Raw Gaussian channels and, last, a raw density per pixel; convolutions of the image join in."""

    def __init__(self, width: int, channels: Sequence[int], features: int, sh_degree: int) -> None:
        """Raw channels: pixel offset (2), scale (3), rotation (4), colour (3 per band), depth offset, density."""
        super().__init__(
            width,
            channels,
            features,
            11 + 3 * (sh_degree + 1) ** 2,
            special=1,
            token_norm=False,
            rectified_skip=False,
        )
        widths = (3, features // 8, features // 4, features // 2)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.GELU()]
        self.images_merger = nn.Sequential(*layers)

    def merge(
        self,
        features: Float[Tensor, "frames channels height width"],
        rgb: Float[Tensor, "frames 3 height width"] | None,
    ) -> Float[Tensor, "frames channels height width"]:
        """Add the image's features; ``rgb`` in [0, 1]."""
        if rgb is None:
            raise ValueError("the Gaussian head reads the image: pass rgb")
        return features + self.images_merger(normalise_images(rgb).to(features.dtype))


def place(
    raw: Float[Tensor, "batch views channels height width"],
    density: Float[Tensor, "batch views height width"],
    depth: Float[Tensor, "batch views height width"],
    cameras: Cameras,
    scale_min: float,
    scale_max: float,
) -> Gaussians:
    """One Gaussian per pixel, in the order view, row, column, from the raw channels and the raw density.

    Depth is measured along the ray, not along the optical axis, as in the published network. Where the depth offset makes
    it negative, the published scales are negative; here they are positive, which is the same Gaussian.
    """
    height, width = depth.shape[-2:]
    offset, scale, rotation, colour, shift = raw.movedim(2, -1).split([2, 3, 4, raw.shape[2] - 10, 1], dim=-1)
    pose = cameras.camera_to_world
    k = cameras.intrinsics[:, :, None, None]
    focal = torch.stack([k[..., 0, 0], k[..., 1, 1]], dim=-1)
    # The unit ray through every pixel, shifted by its offset.
    pixels = pixel_grid(height, width, device=raw.device, dtype=raw.dtype) + offset
    plane = (pixels - k[..., :2, 2]) / focal
    direction = F.normalize(torch.cat([plane, torch.ones_like(shift)], dim=-1), dim=-1)
    distance = depth[..., None] + shift
    turned = torch.einsum("bvij,bvhwj->bvhwi", pose[..., :3, :3], direction)
    means = pose[:, :, None, None, :3, 3] + turned * distance
    # As in pixelSplat (Charatan et al., 2024), a pixel counts by the sum of its sides; at distance 1 these are 1 / focal.
    unit = SCALE_UNIT * (1 / focal).sum(-1, keepdim=True)
    scales = (scale_min + (scale_max - scale_min) * scale.sigmoid()) * distance * unit
    harmonics = colour.unflatten(-1, (3, -1))
    harmonics = harmonics * band_factors(harmonics.shape[-1], harmonics)
    return Gaussians(
        means=means.flatten(1, 3),
        scales=scales.abs().flatten(1, 3),
        rotations=_world_rotations(rotation, pose[..., :3, :3]).flatten(1, 3),
        opacities=density.sigmoid().flatten(1, 3),
        harmonics=_world_harmonics(harmonics, pose[..., :3, :3]).transpose(-1, -2).flatten(1, 3),
    )


def enlarged(gaussians: Gaussians, factor: Float[Tensor, " batch"]) -> Gaussians:
    """Gaussians in a world that is ``factor`` times as large."""
    each = factor[:, None, None]
    return replace(gaussians, means=gaussians.means * each, scales=gaussians.scales * each)


def _world_rotations(
    raw: Float[Tensor, "batch views height width 4"], camera_to_world: Float[Tensor, "batch views 3 3"]
) -> Float[Tensor, "batch views height width 4"]:
    """Rotations wxyz as the published network defines them.

    It mixes up the places of the scalar: the raw numbers xyzw are reordered to wxyz but read as if the scalar came last,
    and the product's numbers, scalar last, are handed on as wxyz. Its weights were trained with that.
    """
    unit = raw / (raw.norm(dim=-1, keepdim=True) + 1e-8)
    # Reordered once for xyzw -> wxyz, and once more because the formula wants what is taken for the scalar in front.
    own = rotation_from_quaternion(unit.roll(2, dims=-1))
    return xyzw_from_wxyz(quaternion_from_rotation(torch.einsum("bvij,bvhwjk->bvhwik", camera_to_world, own)))


def _world_harmonics(
    harmonics: Float[Tensor, "batch views height width 3 bands"],
    camera_to_world: Float[Tensor, "batch views 3 3"],
) -> Float[Tensor, "batch views height width 3 bands"]:
    # The coefficients are given in the axes of the camera.
    turn = harmonics_rotation(camera_to_world, degree_of_bands(harmonics.shape[-1]))
    return torch.einsum("bvij,bvhwcj->bvhwci", turn, harmonics)

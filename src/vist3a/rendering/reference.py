"""The oracle: an exact dense renderer in plain torch, every Gaussian against every pixel. Slow by design.

Formulas are those of gsplat 1.5.3 (``ProjectionEWA3DGSFused.cu``, ``RasterizeToPixels3DGSFwd.cu``), written with
matrices; autograd differentiates them. Works in any floating dtype; the tests use float64. Intrinsics get no gradient.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from vist3a.geometry.projection import pixel_grid
from vist3a.geometry.quaternion import rotation_from_quaternion
from vist3a.geometry.spherical_harmonics import color_from_harmonics
from vist3a.records import Cameras, Gaussians, Rendering
from vist3a.rendering.base import ALPHA_MAX, ALPHA_MIN, DILATION, NEAR_PLANE, TRANSMITTANCE_MIN
from vist3a.rendering.compositing import check_inputs, finish


class ReferenceRenderer:
    """Memory grows with pixels times Gaussians: for small scenes and tests.

    With ``rows``, that many rows of pixels at a time; what their gradient needs is then computed again instead of kept.
    """

    def __init__(self, rows: int | None = None) -> None:
        self.rows = rows

    def __call__(
        self,
        gaussians: Gaussians,
        cameras: Cameras,
        size: tuple[int, int],
        background: Float[Tensor, " 3"] | None = None,
    ) -> Rendering:
        """See :class:`vist3a.rendering.base.Renderer`."""
        check_inputs(gaussians, cameras, size)
        batch, views = cameras.world_to_camera.shape[:2]
        images = [_render_one(gaussians, b, cameras[b, v], size, self.rows) for b in range(batch) for v in range(views)]
        stacked = torch.stack(images).unflatten(0, (batch, views))
        return finish(stacked[..., :3], stacked[..., 3], stacked[..., 4], background)


def _render_one(
    gaussians: Gaussians, scene: int, camera: Cameras, size: tuple[int, int], rows: int | None
) -> Float[Tensor, "height width 5"]:
    """Accumulated red, green, blue, depth and alpha of one scene in one camera."""
    depth = gaussians.means[scene] @ camera.world_to_camera[2, :3] + camera.world_to_camera[2, 3]
    drawn = (depth >= NEAR_PLANE) & (gaussians.opacities[scene] >= ALPHA_MIN)
    # A zero quaternion is no rotation: padding.
    drawn &= gaussians.rotations[scene].square().sum(-1) > 0
    # Stable: equal depths keep the order of the scene, as in the CPU renderer.
    order = torch.argsort(depth, stable=True)
    chosen = gaussians.select(scene, order[drawn[order]])

    mean2d, conic, depth = _project(chosen, camera, size)
    color = color_from_harmonics(chosen.harmonics[0], chosen.means[0] - camera.centers)
    values = torch.cat([color, depth[:, None], torch.ones_like(depth)[:, None]], dim=-1)

    pixels = pixel_grid(*size, device=depth.device, dtype=depth.dtype)
    splats = (mean2d, conic, chosen.opacities[0], values)
    if rows is None:
        return _composite(pixels, *splats)
    return torch.cat([checkpoint(_composite, band, *splats, use_reentrant=False) for band in pixels.split(rows)])


def _composite(
    pixels: Float[Tensor, "rows width 2"],
    mean2d: Float[Tensor, "n 2"],
    conic: Float[Tensor, "n 2 2"],
    opacities: Float[Tensor, " n"],
    values: Float[Tensor, "n 5"],
) -> Float[Tensor, "rows width 5"]:
    """Front-to-back compositing of splats that are sorted by depth."""
    delta = mean2d - pixels[:, :, None]
    sigma = 0.5 * torch.einsum("hwni,nij,hwnj->hwn", delta, conic, delta)
    alpha = (opacities * torch.exp(-sigma)).clamp(max=ALPHA_MAX)
    # Only rounding of a nearly singular covariance makes sigma negative.
    alpha = torch.where((sigma >= 0) & (alpha >= ALPHA_MIN), alpha, torch.zeros_like(alpha))
    after = torch.cumprod(1 - alpha, dim=-1)
    # Transmittance never grows, so a pixel that is finished stays finished.
    alpha = torch.where(after > TRANSMITTANCE_MIN, alpha, torch.zeros_like(alpha))
    before = torch.cat([torch.ones_like(after[..., :1]), after[..., :-1]], dim=-1)
    return (alpha * before) @ values


def _project(
    gaussians: Gaussians, camera: Cameras, size: tuple[int, int]
) -> tuple[Float[Tensor, "n 2"], Float[Tensor, "n 2 2"], Float[Tensor, " n"]]:
    """Pixel means, inverse image covariances and z-depths of a batch of one (EWA, Zwicker et al. 2001)."""
    height, width = size
    rotation, translation = camera.world_to_camera[:3, :3], camera.world_to_camera[:3, 3]
    intrinsics = camera.intrinsics.detach()
    local = gaussians.means[0] @ rotation.T + translation
    z = local[:, 2]
    focal, center = torch.diagonal(intrinsics)[:2], intrinsics[:2, 2]
    extent = torch.tensor([width, height], dtype=z.dtype, device=z.device)
    # Jacobians are taken inside a frame 30 % wider than the image, as the linearisation breaks down far outside.
    margin = 0.3 * 0.5 * extent / focal
    slope = torch.clamp(local[:, :2] / z[:, None], min=-center / focal - margin, max=(extent - center) / focal + margin)
    # d(pixel) / d(camera point): f / z, and -f x / z^2 for the depth.
    jacobian = torch.cat([torch.diag(focal).expand(len(z), 2, 2), -(focal * slope)[:, :, None]], -1) / z[:, None, None]

    # The covariance is axes axes^T: projecting this root keeps it positive.
    axes = rotation @ rotation_from_quaternion(gaussians.rotations[0]) * gaussians.scales[0][:, None, :]
    footprint = jacobian @ axes
    blur = DILATION * torch.eye(2, dtype=z.dtype, device=z.device)
    covariance = footprint @ footprint.transpose(-1, -2) + blur
    return local[:, :2] / z[:, None] * focal + center, torch.linalg.inv(covariance), z

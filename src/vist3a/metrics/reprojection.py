"""Do the depth maps and cameras of a scene agree with each other? Needs no ground truth, so it also judges generated scenes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vist3a.geometry.projection import pixel_grid, project, unproject_depth
from vist3a.records.cameras import Cameras


@dataclass(frozen=True)
class ReprojectionErrors:
    """Medians over pixels that are seen in both views of a pair; means over the pairs.

    ``pixels``: distance after going to the other view and back with that view's depth. ``depth``: relative difference of the two
    depths of a point. ``colour``: mean absolute difference of RGB in [0, 1] of the two views' frames there (a mean, not a
    median, over the pixels). ``covered``: share of pixels that fall into the other view.
    """

    pixels: Float[Tensor, " batch"]
    depth: Float[Tensor, " batch"]
    colour: Float[Tensor, " batch"]
    covered: Float[Tensor, " batch"]


def reprojection_errors(
    depth: Float[Tensor, "batch views height width"],
    cameras: Cameras,
    frames: Float[Tensor, "batch views 3 height width"],
    gap: int = 4,
) -> ReprojectionErrors:
    """Compare every view i with view i + ``gap``, both ways.

    Points hidden in the other view count with the depth that is in front of them; medians are not moved by a minority of such
    pixels. Depth and colour of the other view are read bilinearly. ValueError when there are not more views than ``gap``.
    """
    views = depth.shape[1]
    if not 0 < gap < views:
        raise ValueError(f"gap {gap} between {views} views: it must lie in 1..{views - 1}")
    first, second = torch.arange(views - gap), torch.arange(gap, views)
    here, there = torch.cat([first, second]), torch.cat([second, first])
    return _summary(
        *_compare(
            depth[:, here], cameras[:, here], frames[:, here], depth[:, there], cameras[:, there], frames[:, there]
        )
    )


def _compare(
    depth: Tensor, cameras: Cameras, frames: Tensor, other_depth: Tensor, other: Cameras, other_frames: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Per pair and pixel [batch, pairs, pixels]: distance in pixels, relative depth, colour, whether it is in the other view."""
    height, width = depth.shape[-2:]
    grid = pixel_grid(height, width, device=depth.device, dtype=depth.dtype).flatten(0, 1)
    seen, place, z, inside = look_up(depth, cameras, other, torch.cat([other_depth[:, :, None], other_frames], 2))
    # The surface that the other view sees at that place, brought back.
    k, pose = other.intrinsics[..., None, :, :], other.camera_to_world[..., None, :, :]
    ray = torch.stack(
        [
            (place[..., 0] - k[..., 0, 2]) / k[..., 0, 0],
            (place[..., 1] - k[..., 1, 2]) / k[..., 1, 1],
            torch.ones_like(z),
        ],
        -1,
    )
    back = (pose[..., :3, :3] @ (ray * seen[:, :, 0, :, None])[..., None]).squeeze(-1) + pose[..., :3, 3]
    returned, _ = project(back, cameras)
    colour = (seen[:, :, 1:] - frames.flatten(3)).abs().mean(2)
    return (returned - grid).norm(dim=-1), (seen[:, :, 0] - z).abs() / z, colour, inside


def look_up(
    depth: Float[Tensor, "batch pairs height width"],
    cameras: Cameras,
    other: Cameras,
    maps: Float[Tensor, "batch pairs channels rows columns"],
    mode: str = "bilinear",
) -> tuple[
    Float[Tensor, "batch pairs channels pixels"],
    Float[Tensor, "batch pairs pixels 2"],
    Float[Tensor, "batch pairs pixels"],
    Bool[Tensor, "batch pairs pixels"],
]:
    """What ``maps`` of the ``other`` views hold for the surface in every pixel of the first ones.

    With it: the place there (x, y in pixels of ``depth``'s size), z there, and whether it lies in the other view, before its
    camera.
    """
    height, width = depth.shape[-2:]
    # Every pixel as a point of the world, and where the other view has it.
    points = unproject_depth(depth, cameras).flatten(2, 3)
    place, z = project(points, other)
    size = torch.tensor([width, height], device=depth.device, dtype=depth.dtype)
    inside = ((place > 0) & (place < size)).all(-1) & (z > 0)
    # grid_sample without aligned corners: -1 and 1 are the outer edges of the outer pixels, as in this project.
    sample = torch.where(inside[..., None], place / size * 2 - 1, 0.0)
    return _read(maps, sample, mode), place, z, inside


def _read(maps: Tensor, sample: Tensor, mode: str) -> Tensor:
    """Values [batch, pairs, channels, pixels] of maps [batch, pairs, channels, height, width] at sample points."""
    batch = maps.shape[0]
    read = torch.nn.functional.grid_sample(
        maps.flatten(0, 1), sample.flatten(0, 1)[:, None], mode=mode, padding_mode="border", align_corners=False
    )
    return read[:, :, 0].unflatten(0, (batch, -1))


def _summary(pixels: Tensor, depth: Tensor, colour: Tensor, inside: Tensor) -> ReprojectionErrors:
    nothing = torch.full_like(pixels, torch.nan)

    def median(values: Tensor) -> Tensor:
        return torch.where(inside, values, nothing).nanmedian(-1).values.nanmean(-1)

    return ReprojectionErrors(
        pixels=median(pixels),
        depth=median(depth),
        colour=torch.where(inside, colour, nothing).nanmean((-2, -1)),
        covered=inside.to(pixels.dtype).mean((-2, -1)),
    )

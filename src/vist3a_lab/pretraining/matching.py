"""Matching supervision: where does each token's content lie in the first view?

Camera regression alone never leaves the plateau of predicting no motion on small data; learning correspondences first does. The
heads here are used in training only and thrown away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from vist3a.geometry.projection import project, unproject_depth
from vist3a.records import Cameras


@dataclass(frozen=True)
class Correspondence:
    """Where tokens of later views lie in view 0. ``location`` is in [0, 1]^2 (x, y); ``valid`` = visible there."""

    token: Int[Tensor, "batch views tokens"]
    location: Float[Tensor, "batch views tokens 2"]
    valid: Bool[Tensor, "batch views tokens"]


@torch.no_grad()
def correspondences(
    depth: Float[Tensor, "batch views height width"], cameras: Cameras, patch: int, tolerance: float = 0.05
) -> Correspondence:
    """Exact correspondences of token centres of views 1.. into view 0, from depth and cameras."""
    batch, views, height, width = depth.shape
    points = unproject_depth(depth[:, 1:], cameras[:, 1:])
    # The pixel in the middle of a patch stands for its token.
    points = points[:, :, patch // 2 :: patch, patch // 2 :: patch].flatten(2, 3)
    pixels, z = project(points.flatten(1, 2), cameras[:, 0])
    inside = (pixels[..., 0] > 0) & (pixels[..., 0] < width) & (pixels[..., 1] > 0) & (pixels[..., 1] < height)
    column = pixels[..., 0].clamp(0, width - 1).long()
    row = pixels[..., 1].clamp(0, height - 1).long()
    # Another depth in view 0 at this place: the point is hidden there.
    seen = depth[:, 0].flatten(1).gather(1, row * width + column)
    valid = inside & (z > 0) & ((z - seen).abs() < tolerance * seen)
    token = (row // patch) * (width // patch) + column // patch
    location = pixels / torch.tensor([width, height], device=depth.device, dtype=depth.dtype)
    shape = (batch, views - 1, -1)
    return Correspondence(token.view(shape), location.view(*shape, 2), valid.view(shape))


class MatchingHeads(nn.Module):
    """Projections for token matching and direct regression of the location in view 0, one pair per watched point."""

    def __init__(self, widths: Mapping[str, int], dimension: int = 64, sharpness: float = 14.0) -> None:
        super().__init__()
        self.points = tuple(widths)
        self.sharpness = sharpness
        self.project = nn.ModuleList([nn.Linear(width, dimension) for width in widths.values()])
        self.locate = nn.ModuleList([nn.Linear(width, 2) for width in widths.values()])

    def forward(
        self, tokens: Sequence[Float[Tensor, "batch views rows columns width"]], truth: Correspondence
    ) -> dict[str, Float[Tensor, ""]]:
        """Cross-entropy of matching, soft-argmax L1 and location L1, averaged over the watched points."""
        sums: dict[str, list[Tensor]] = {"match": [], "soft_argmax": [], "locate": []}
        weight = truth.valid.float()
        count = weight.sum().clamp(min=1)
        for state, project_, locate in zip(tokens, self.project, self.locate, strict=True):
            rows, columns = state.shape[2:4]
            flat = state.flatten(2, 3).float()
            embedded = nn.functional.normalize(project_(flat), dim=-1)
            # Cosine similarities need a temperature, here a fixed one.
            logits = self.sharpness * torch.einsum("bvnd,bmd->bvnm", embedded[:, 1:], embedded[:, 0])
            entropy = nn.functional.cross_entropy(
                logits.flatten(0, 2), truth.token.flatten(), reduction="none"
            ).view_as(weight)
            grid_y, grid_x = torch.meshgrid(
                (torch.arange(rows, device=flat.device) + 0.5) / rows,
                (torch.arange(columns, device=flat.device) + 0.5) / columns,
                indexing="ij",
            )
            centres = torch.stack([grid_x, grid_y], -1).flatten(0, 1)
            # Cross-entropy asks for the right token; the mean place also tells how far off the others are.
            expected = logits.softmax(-1) @ centres
            sums["match"].append((entropy * weight).sum() / count)
            sums["soft_argmax"].append(((expected - truth.location).abs().sum(-1) * weight).sum() / count)
            located = locate(flat[:, 1:])
            sums["locate"].append(((located - truth.location).abs().sum(-1) * weight).sum() / count)
        return {name: torch.stack(values).mean() for name, values in sums.items()}

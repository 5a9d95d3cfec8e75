"""Point tracker of VGGT: where query points of the first frame lie in all frames, refined step by step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vist3a.networks.blocks.dpt_head import Scratch, TokenPyramid, resize_map
from vist3a.networks.blocks.output import at_least_float32
from vist3a.networks.blocks.track_correlation import (
    CorrelationPyramid,
    motion_embedding,
    position_embedding,
    sample_map,
)
from vist3a.networks.blocks.track_transformer import TrackTransformer
from vist3a.networks.blocks.transformer import Mlp
from vist3a.records import Tracks

MOTION_UNIT = 518
"""Motion, in samples of the feature map, is also given divided by this."""


class TrackFeatures(TokenPyramid):
    """Feature maps from the tapped tokens; like the dense heads, but without positions and output convolutions."""

    def __init__(self, width: int, channels: Sequence[int], features: int, special: int, stride: int) -> None:
        """Maps of ``features`` channels, ``stride`` times smaller than the frames."""
        super().__init__(width, channels, special, sinusoid=False)
        self.stride = stride
        self.scratch = Scratch(channels, features, 0, None)

    def forward(
        self,
        taps: Sequence[Float[Tensor, "batch views tokens channels"]],
        grid: tuple[int, int],
        size: tuple[int, int],
        chunk: int = 8,
    ) -> Float[Tensor, "batch views features rows columns"]:
        """Maps for frames of ``size`` (height, width) from tokens on ``grid`` (rows, columns), by ``chunk`` frames."""
        reduced = (size[0] // self.stride, size[1] // self.stride)
        parts = []
        for part in zip(*(tap.flatten(0, 1).split(chunk) for tap in taps), strict=True):
            path = self.scratch.fuse(self.scratch.laterals(self.levels(part, grid, size[1] / size[0])))
            parts.append(resize_map(self.scratch.output_conv1(path), reduced))
        return torch.cat(parts).unflatten(0, taps[0].shape[:2])


class Tracker(nn.Module):
    """Refines tracks on feature maps (the fields' names are those of the published state dicts)."""

    def __init__(self, features: int, width: int, depth: int, levels: int, radius: int) -> None:
        """Maps of ``features`` channels; transformer of ``width`` and ``depth``; windows as in ``CorrelationPyramid``."""
        super().__init__()
        self.levels, self.radius = levels, radius
        # Embedded motion, correlation and feature of the track, and twice the plain motion.
        seen = 3 * features + 4
        self.fmap_norm = nn.LayerNorm(features, eps=1e-5)
        self.corr_mlp = Mlp(levels * (2 * radius + 1) ** 2, width, features)
        self.query_ref_token = nn.Parameter(torch.randn(1, 2, seen))
        self.updateformer = TrackTransformer(seen, width, depth, 2 + features)
        self.ffeat_norm = nn.GroupNorm(1, features, eps=1e-5)
        self.ffeat_updater = nn.Sequential(nn.Linear(features, features), nn.GELU())
        self.vis_predictor = nn.Sequential(nn.Linear(features, 1))
        self.conf_predictor = nn.Sequential(nn.Linear(features, 1))

    def forward(
        self,
        maps: Float[Tensor, "batch views features rows columns"],
        queries: Float[Tensor, "batch points 2"],
        iterations: int,
    ) -> tuple[
        Float[Tensor, "iterations batch views points 2"],
        Float[Tensor, "batch views points"],
        Float[Tensor, "batch views points"],
    ]:
        """Positions after every step, and logits of visibility and confidence after the last.

        ``queries`` and positions are (x, y) in samples of the maps, the first of which is at 0.
        """
        batch, views = maps.shape[:2]
        maps = self.fmap_norm(maps.movedim(2, -1)).movedim(-1, 2)
        dtype, features = maps.dtype, maps.shape[2]
        pyramid = CorrelationPyramid(maps.flatten(0, 1), self.levels, self.radius)
        # At first a track has the feature under its query, in all frames.
        started = sample_map(maps[:, 0], queries[:, None], "border").squeeze(2).transpose(1, 2)
        feature = started[:, None].repeat(1, views, 1, 1)
        position = queries[:, None].repeat(1, views, 1, 1)
        # What stays the same in all steps: where the track starts, and whether a frame is the first.
        place = position_embedding(queries, (maps.shape[-2], maps.shape[-1]), self.query_ref_token.shape[-1])
        role = torch.arange(views, device=maps.device).clamp(max=1)
        constant = place.to(dtype)[:, None] + self.query_ref_token[:, role][:, :, None]
        positions = []
        for _ in range(iterations):
            # Every step is supervised by itself; no gradient runs back through the chain of positions.
            position = position.detach()
            # Relative to the first frame, where the track is known.
            motion = position - position[:, :1]
            near = pyramid.around(position.flatten(0, 1), feature.flatten(0, 1)).unflatten(0, (batch, views))
            scaled = motion / MOTION_UNIT
            moved = torch.cat([motion_embedding(motion, features), scaled, scaled], dim=-1)
            seen = torch.cat([moved.to(dtype), self.corr_mlp(near), feature], dim=-1) + constant
            update = self.updateformer(seen.transpose(1, 2)).transpose(1, 2)
            step, change = update.split([2, features], dim=-1)
            # The query is given, so that its own frame is never moved.
            position = torch.cat([queries[:, None], (position + step.to(position.dtype))[:, 1:]], dim=1)
            # GroupNorm takes channels second: tracks and frames become rows.
            normed = self.ffeat_norm(change.flatten(0, 2)).view_as(change)
            feature = feature + self.ffeat_updater(normed)
            positions.append(position)
        return (
            torch.stack(positions),
            self.vis_predictor(feature).squeeze(-1),
            self.conf_predictor(feature).squeeze(-1),
        )


class TrackHead(nn.Module):
    """Feature maps and the tracker on them."""

    def __init__(
        self,
        width: int,
        channels: Sequence[int],
        special: int,
        *,
        features: int,
        stride: int,
        hidden: int,
        depth: int,
        levels: int,
        radius: int,
    ) -> None:
        """``width``, ``channels`` and ``special`` as in the dense heads, the rest as in the parts."""
        super().__init__()
        self.stride = stride
        self.feature_extractor = TrackFeatures(width, channels, features, special, stride)
        self.tracker = Tracker(features, hidden, depth, levels, radius)

    def forward(
        self,
        taps: Sequence[Float[Tensor, "batch views tokens channels"]],
        grid: tuple[int, int],
        size: tuple[int, int],
        queries: Float[Tensor, "batch points 2"],
        iterations: int,
        chunk: int = 8,
    ) -> Tracks:
        """Tracks of ``queries``, pixels (x, y) of the first frame with the first pixel's centre at (0.5, 0.5)."""
        maps = self.feature_extractor(taps, grid, size, chunk)
        # The network counts pixels from the first one's centre.
        start = (at_least_float32(queries) - 0.5) / self.stride
        positions, visibility, confidence = self.tracker(maps, start, iterations)
        return Tracks(
            positions=positions * self.stride + 0.5,
            visibility=at_least_float32(visibility).sigmoid(),
            confidence=at_least_float32(confidence).sigmoid(),
        )

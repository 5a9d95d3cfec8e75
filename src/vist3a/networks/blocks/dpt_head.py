"""Dense prediction head: four token levels are fused coarse to fine into a map of the frame size."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

Result = TypeVar("Result")


def add_positions(
    x: Float[Tensor, "frames channels rows columns"], aspect: float
) -> Float[Tensor, "frames channels rows columns"]:
    """Add, in place, 0.1 times sines and cosines of image coordinates whose diagonal has length 2.

    The first half of the channels depends on the column, the second on the row; ``aspect`` is frame width / height.
    """
    _, channels, rows, columns = x.shape
    diagonal = math.hypot(aspect, 1.0)

    def axis(count: int, span: float) -> Tensor:
        # Pixel centers: the outermost ones lie half a pixel inside the span.
        end = span / diagonal * (count - 1) / count
        position = torch.linspace(-end, end, count, device=x.device, dtype=torch.float64)
        quarter = channels // 4
        frequency = 100.0 ** -(torch.arange(quarter, device=x.device, dtype=torch.float64) / quarter)
        angles = position[:, None] * frequency
        return 0.1 * torch.cat([angles.sin(), angles.cos()], dim=-1).to(x.dtype)

    # Channels last, as the maps are that come out of the projected tokens.
    u = axis(columns, aspect)[None].expand(rows, -1, -1)
    v = axis(rows, 1.0)[:, None].expand(-1, columns, -1)
    return x.add_(torch.cat([u, v], dim=-1).permute(2, 0, 1))


def resize_map(
    x: Float[Tensor, "frames channels _ _"], size: tuple[int, int]
) -> Float[Tensor, "frames channels rows columns"]:
    """Bilinear, corner to corner."""
    return F.interpolate(x, size=size, mode="bilinear", align_corners=True)


class ResidualUnit(nn.Module):
    """Two convolutions on the rectified input, and a skip around them."""

    def __init__(self, width: int, rectified_skip: bool = True) -> None:
        """``width`` channels in and out. ``rectified_skip``: the skip carries the rectified input, as in VGGT."""
        super().__init__()
        self.rectified_skip = rectified_skip
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Float[Tensor, "frames width rows columns"]) -> Float[Tensor, "frames width rows columns"]:
        """Same size as the input."""
        # In place where the backward pass needs no old value: memory goes to maps of full size.
        rectified = F.relu(x)
        branch: Tensor = self.conv2(F.relu(self.conv1(rectified), inplace=True))
        return branch.add_(rectified if self.rectified_skip else x)


class FusionUnit(nn.Module):
    """Adds a lateral level to the coarser path, refines and up-samples."""

    def __init__(self, width: int, lateral: bool, rectified_skip: bool = True) -> None:
        """``lateral`` is false for the coarsest level, which has no path to join."""
        super().__init__()
        if lateral:
            self.resConfUnit1 = ResidualUnit(width, rectified_skip)
        self.resConfUnit2 = ResidualUnit(width, rectified_skip)
        self.out_conv = nn.Conv2d(width, width, 1)

    def forward(self, path: Tensor, lateral: Tensor | None, size: tuple[int, int]) -> Tensor:
        """Maps ``[frames, width, rows, columns]``; the result has ``size`` (rows, columns)."""
        if lateral is not None:
            path = self.resConfUnit1(lateral).add_(path)
        # Published the other way round. Bilinear weights sum to 1, so that the two commute; here it costs a quarter.
        return resize_map(self.out_conv(self.resConfUnit2(path)), size)


class Scratch(nn.Module):
    """The convolutional part (its name and its fields' names are those of the published state dicts)."""

    def __init__(
        self, channels: Sequence[int], features: int, hidden: int, out: int | None, rectified_skip: bool = True
    ) -> None:
        """Level widths, common width, width between the last two convolutions, output channels.

        ``out`` None: the first output convolution keeps the common width, and no other follows.
        """
        super().__init__()
        for level, width in enumerate(channels, start=1):
            setattr(self, f"layer{level}_rn", nn.Conv2d(width, features, 3, padding=1, bias=False))
            setattr(self, f"refinenet{level}", FusionUnit(features, level < len(channels), rectified_skip))
        self.output_conv1 = nn.Conv2d(features, features if out is None else features // 2, 3, padding=1)
        if out is None:
            return
        self.output_conv2 = nn.Sequential(
            nn.Conv2d(features // 2, hidden, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(hidden, out, 1)
        )

    def laterals(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Fine-to-coarse ``levels`` at the common width."""
        return [getattr(self, f"layer{n}_rn")(level) for n, level in enumerate(levels, start=1)]

    def fuse(self, lateral: Sequence[Tensor], chain: str = "") -> Tensor:
        """Fine-to-coarse maps of the common width to one map at twice the finest size; ``chain`` ends the units' names."""
        path, skip = lateral[-1], None
        # Coarse to fine: a unit ends at the size of the next finer level, the last one at twice the finest.
        for n in range(len(lateral), 0, -1):
            finest = n == 1
            height, width = lateral[0 if finest else n - 2].shape[-2:]
            size = (2 * height, 2 * width) if finest else (height, width)
            path = getattr(self, f"refinenet{n}{chain}")(path, skip, size)
            skip = None if finest else lateral[n - 2]
        return path


class TokenPyramid(nn.Module):
    """What the dense heads start with: the tapped tokens of four depths as four maps, fine to coarse."""

    def __init__(
        self, width: int, channels: Sequence[int], special: int, token_norm: bool = True, sinusoid: bool = True
    ) -> None:
        """``width`` is that of the tapped tokens; the first ``special`` tokens of each frame are not used.

        ``sinusoid``: positions are added to the maps.
        """
        super().__init__()
        self.special = special
        self.sinusoid = sinusoid
        self.recompute = False
        """Whether a graph keeps what goes into a chunk of frames, and not the maps that are made of it."""
        self.norm: nn.Module = nn.LayerNorm(width, eps=1e-5) if token_norm else nn.Identity()
        self.projects = nn.ModuleList(nn.Conv2d(width, channel, 1) for channel in channels)
        self.resize_layers = nn.ModuleList(
            [
                nn.ConvTranspose2d(channels[0], channels[0], 4, 4),
                nn.ConvTranspose2d(channels[1], channels[1], 2, 2),
                nn.Identity(),
                nn.Conv2d(channels[3], channels[3], 3, 2, padding=1),
            ]
        )

    def chunk(self, work: Callable[..., Result], *inputs: Any) -> Result:
        """``work`` on a chunk of frames; run again in the backward pass where the head is to recompute."""
        if self.recompute and torch.is_grad_enabled():
            found: Result = checkpoint(work, *inputs, use_reentrant=False)
            return found
        return work(*inputs)

    def levels(
        self, taps: Sequence[Float[Tensor, "frames tokens channels"]], grid: tuple[int, int], aspect: float
    ) -> list[Tensor]:
        """Maps ``[frames, channels, rows, columns]`` at 4, 2, 1 and 1/2 times the token ``grid``."""
        # Taps may be narrower than the head, which computes in its own type.
        dtype = self.projects[0].get_parameter("weight").dtype
        levels = []
        for tap, project, resize in zip(taps, self.projects, self.resize_layers, strict=True):
            tokens = self.norm(tap[:, self.special :].to(dtype))
            x = project(tokens.transpose(1, 2).unflatten(2, grid))
            levels.append(resize(add_positions(x, aspect) if self.sinusoid else x))
        return levels


class DPTHead(TokenPyramid):
    """Raw output channels per pixel from the tapped tokens of four depths."""

    def __init__(
        self,
        width: int,
        channels: Sequence[int],
        features: int,
        out: int,
        hidden: int = 32,
        special: int = 5,
        *,
        token_norm: bool = True,
        rectified_skip: bool = True,
    ) -> None:
        """``hidden`` is the width between the last two convolutions, ``out`` the number of raw channels."""
        super().__init__(width, channels, special, token_norm)
        self.scratch = Scratch(channels, features, hidden, out, rectified_skip)

    def forward(
        self,
        taps: Sequence[Float[Tensor, "batch views tokens channels"]],
        grid: tuple[int, int],
        size: tuple[int, int],
        chunk: int = 8,
        rgb: Float[Tensor, "batch views 3 height width"] | None = None,
    ) -> Float[Tensor, "batch views out height width"]:
        """Maps of ``size`` (height, width) pixels from tokens on ``grid`` (rows, columns), by ``chunk`` frames."""
        batch, views = taps[0].shape[:2]
        frames = [tap.flatten(0, 1) for tap in taps]
        images = None if rgb is None else rgb.flatten(0, 1)
        parts = []
        for start in range(0, batch * views, chunk):
            part = slice(start, start + chunk)
            seen = None if images is None else images[part]
            parts.append(self.chunk(self._frames, [tap[part] for tap in frames], grid, size, seen))
        return torch.cat(parts).unflatten(0, (batch, views))

    def _frames(
        self, taps: Sequence[Tensor], grid: tuple[int, int], size: tuple[int, int], rgb: Tensor | None
    ) -> Tensor:
        aspect = size[1] / size[0]
        # One name, so that no map outlives its use: those at full size are what the peak of memory consists of.
        x = self.scratch.fuse(self.scratch.laterals(self.levels(taps, grid, aspect)))
        x = self.scratch.output_conv1(x)
        x = resize_map(x, size)
        x = self.merge(x, rgb)
        return self.scratch.output_conv2(add_positions(x, aspect))

    def merge(
        self,
        features: Float[Tensor, "frames channels height width"],
        rgb: Float[Tensor, "frames 3 height width"] | None,
    ) -> Float[Tensor, "frames channels height width"]:
        """Hook for heads that inject the image into the full-resolution features; here: nothing."""
        return features


def recompute_heads(network: nn.Module, value: bool) -> None:
    """Set :attr:`TokenPyramid.recompute` of all dense heads of a network."""
    for module in network.modules():
        if isinstance(module, TokenPyramid):
            module.recompute = value

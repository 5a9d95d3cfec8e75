"""Clips that are wider than high, and a decoder that was stitched for them, in float64."""

from __future__ import annotations

import torch
from tiny_networks import tiny_generator, tiny_network

from vist3a.records import Clip
from vist3a.stitching.decoder import StitchedDecoder
from vist3a.stitching.extract import TapConfig, accumulate, tap_settings
from vist3a.stitching.search import solve_points
from vist3a.stitching.tap import Tap
from vist3a.stitching.tuning import prepare

WIDE = (16, 32)
"""Height and width: two rows and four columns of latents and of tokens."""


def wide_clips(count: int, views: int = 5, seed: int = 0) -> list[Clip]:
    """Of random colors."""
    generator = torch.Generator().manual_seed(seed)
    return [Clip(f"c{i}", torch.rand(views, 3, *WIDE, generator=generator).double()) for i in range(count)]


def wide_decoder() -> StitchedDecoder:
    """The closed form for noise, whose parameters may be trained."""
    generator, network = tiny_generator(), tiny_network()
    points = [point for point in network.stitch_points if point.name == "encoder.01"]
    tap = Tap(generator, network, tap_settings(generator, network, points, WIDE, TapConfig(kernel=(3, 3, 3))))
    frames = {clip.name: (clip.frames * 255).round().byte() for clip in wide_clips(6)}
    moments = accumulate(tap, list(frames), frames.__getitem__, batch=2)
    layer = solve_points(moments, moments, tap.settings, (1e-3,), "position")["encoder.01"].layer
    decoder = StitchedDecoder(network, tap.settings.spec, layer).double()
    prepare(decoder, "full", 4, 8.0)
    return decoder

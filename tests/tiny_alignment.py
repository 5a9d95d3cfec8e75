"""What alignment needs, tiny: a stitched decoder, a scorer, prompts."""

from __future__ import annotations

import torch
from tiny_networks import WORDS, tiny_generator

from vist3a.networks.base import ReconstructionModel
from vist3a.stitching.decoder import StitchedDecoder
from vist3a.stitching.extract import TapConfig, accumulate, tap_settings
from vist3a.stitching.search import solve_points
from vist3a.stitching.tap import Tap
from vist3a_lab.scorers import DualEncoder, DualEncoderConfig

PROMPTS = ["a red ball", "a green cube on the floor", "the ball"]
RENDERED = {"text_decoded": 1.0, "text_rendered": 1.0, "consistency_l1": 1.0, "consistency_perceptual": 0.25}


def decoder(network: ReconstructionModel) -> StitchedDecoder:
    """Stitched behind the encoder's first block, fitted on noise."""
    generator = tiny_generator()
    point = network.stitch_point("encoder.01")
    settings = tap_settings(generator, network, [point], (16, 16), TapConfig(kernel=(3, 3, 3)))
    frames = {f"c{i}": (torch.rand(5, 3, 16, 16) * 255).byte() for i in range(4)}
    moments = accumulate(Tap(generator, network, settings), list(frames), frames.__getitem__, batch=2)
    solved = solve_points(moments, moments, settings, (1e-2,), "position")
    return StitchedDecoder(network, settings.spec, solved[point.name].layer).double().requires_grad_(False).eval()


def scorer(seed: int) -> DualEncoder:
    torch.manual_seed(seed)
    config = DualEncoderConfig("conv", 8, 1, 1, WORDS, image_size=16, conv_channels=(8, 8))
    return DualEncoder(config).double().eval().requires_grad_(False)

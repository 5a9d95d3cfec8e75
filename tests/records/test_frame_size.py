"""Two networks see one clip in their own sizes, as if it had been resized before."""

from __future__ import annotations

import pytest
import torch
from reconstruction_cases import KINDS, assert_same, build
from tiny_networks import tiny_generator, tiny_network
from torch.nn import functional

from vist3a.records import Clip
from vist3a.records.frame_size import resize_frames
from vist3a.sampling.sampling import decode_scene
from vist3a.stitching.decoder import StitchedDecoder
from vist3a.stitching.extract import TapConfig, accumulate, tap_settings
from vist3a.stitching.functional_error import stitched
from vist3a.stitching.search import solve_points
from vist3a.stitching.tap import Tap


def test_shrinking_averages_and_the_same_size_is_left_alone() -> None:
    frames = torch.rand(1, 2, 3, 16, 24)
    assert resize_frames(frames, None) is frames
    assert resize_frames(frames, (16, 24)) is frames
    # A checkerboard is grey at half its size: antialiased, where picking pixels would keep it black and white.
    board = (torch.arange(32)[:, None] + torch.arange(32)).remainder(2).float().expand(1, 1, 3, 32, 32)
    small = resize_frames(board, (16, 16))
    torch.testing.assert_close(small[..., 2:-2, 2:-2], torch.full((1, 1, 3, 12, 12), 0.5))
    constant = torch.full((1, 2, 3, 12, 20), 0.3)
    torch.testing.assert_close(resize_frames(constant, (8, 8)), torch.full((1, 2, 3, 8, 8), 0.3))


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_a_network_of_its_own_size_sees_the_resized_clip(kind: str) -> None:
    network, clip = build(kind), torch.rand(1, 4, 3, 24, 40, dtype=torch.float64)
    small = functional.interpolate(clip[0], (12, 20), mode="bilinear", antialias=True)[None]
    expected = network.reconstruct(small)
    point = network.stitch_points[1].name
    tokens = network.tokens_at([point], small)[point].patch_tokens
    network.input_size = (12, 20)
    assert network.frame_size(24, 40) == (12, 20)
    assert_same(network.reconstruct(clip), expected)
    state = network.tokens_at([point], clip)[point]
    torch.testing.assert_close(state.patch_tokens, tokens)
    if all(p.complete for p in network.stitch_points if p.name == point):
        assert_same(
            network.reconstruct_from(state, (12, 20), rgb=clip), network.reconstruct_from(state, (12, 20), rgb=small)
        )


def test_a_clip_is_stitched_between_two_sizes() -> None:
    """The generator sees 32 px (latents 4x4), the 3D network 16 px (tokens 2x2)."""
    generator, network = tiny_generator(), tiny_network()
    network.input_size = (16, 16)
    clips = [
        Clip(f"c{i}", torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(i)).double()) for i in range(6)
    ]
    settings = tap_settings(
        generator, network, [network.stitch_point("encoder.01")], (32, 32), TapConfig(kernel=(3, 3, 3))
    )
    assert settings.spec.stride == (1, 2, 2)
    stored = {clip.name: (clip.frames * 255).byte() for clip in clips}
    moments = accumulate(Tap(generator, network, settings), list(stored), stored.__getitem__, batch=2)
    solved = solve_points(moments, moments, settings, (1e-3,), "position")
    decoder = StitchedDecoder(network, settings.spec, solved["encoder.01"].layer).double()
    frames = clips[0].frames[None]
    scene = stitched(decoder, generator)(frames)
    assert scene.depth.shape == (1, 5, 16, 16)
    small = functional.interpolate(frames[0], (16, 16), mode="bilinear", antialias=True)[None]
    torch.testing.assert_close(scene.depth, decoder(generator.encode(frames), (16, 16), rgb=small).depth)
    made = decode_scene(generator, decoder, "a prompt", generator.encode(frames))
    assert made.frames.shape == (1, 5, 3, 16, 16)
    assert made.scene.depth.shape == (1, 5, 16, 16)

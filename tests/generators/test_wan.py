"""The Wan adapter: contract, the whole-clip path against diffusers' chunked one, gradients, folders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tiny_networks import tiny_generator

from vist3a.generators.wan import WanGenerator
from vist3a.generators.wan_whole_clip import decode_video, encode_moments


@pytest.mark.parametrize("frames", [1, 5, 13])
def test_whole_clip_equals_chunks(frames: int) -> None:
    vae = tiny_generator(3).vae
    video = torch.rand(2, 3, frames, 16, 16, dtype=torch.float64) * 2 - 1
    torch.testing.assert_close(encode_moments(vae, video), vae._encode(video), rtol=1e-9, atol=1e-9)
    latents = torch.randn(2, 4, (frames - 1) // 4 + 1, 2, 2, dtype=torch.float64)
    chunked = vae.decode(latents, return_dict=False)[0]
    torch.testing.assert_close(decode_video(vae, latents).clamp(-1, 1), chunked, rtol=1e-9, atol=1e-9)
    generator = tiny_generator(3)
    parts = generator.decode(latents)
    generator.whole_clip = True
    torch.testing.assert_close(generator.decode(latents), parts, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("frames", "size", "words"), [(6, 16, "nearest: 5 or 9"), (5, 20, "multiples of 8")])
def test_wrong_sizes_are_named(frames: int, size: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        tiny_generator().latent_grid(frames, size, size)


def test_padding_of_prompts_is_zero() -> None:
    generator = tiny_generator()
    embedded = generator.embed(["a red ball", ""])["text"]
    assert embedded.shape == (2, 8, 8)
    assert bool((embedded[0, 4:] == 0).all())  # three words and the end token
    assert bool((embedded[1, 1:] == 0).all())
    torch.testing.assert_close(generator.embed(["a red ball"])["text"], embedded[:1])


def test_folder_round_trip_and_missing_parts(tmp_path: Path) -> None:
    generator = tiny_generator(5, dtype=torch.float32)
    for part in ("vae", "transformer", "text_encoder", "tokenizer", "scheduler"):
        getattr(generator, part).save_pretrained(tmp_path / part)
    loaded = WanGenerator.from_pretrained(str(tmp_path), max_text_tokens=8)
    video = torch.rand(1, 5, 3, 16, 16)
    assert torch.equal(loaded.encode(video), generator.encode(video))
    assert torch.equal(loaded.embed(["a ball"])["text"], generator.embed(["a ball"])["text"])
    assert loaded.sampler(3, (4, 2, 2, 2)).scheduler.config.shift == 2.0
    only_vae = WanGenerator.from_pretrained(str(tmp_path), parts=("vae",))
    with pytest.raises(RuntimeError, match="without its text_encoder"):
        only_vae.embed(["a ball"])
    with pytest.raises(ValueError, match="unknown parts"):
        WanGenerator.from_pretrained(str(tmp_path), parts=("vea",))


def test_prompts_are_padded_as_published_unless_the_tokenizer_says_less(tmp_path: Path) -> None:
    generator = tiny_generator(5, dtype=torch.float32)
    for part in ("vae", "transformer", "text_encoder", "tokenizer", "scheduler"):
        getattr(generator, part).save_pretrained(tmp_path / part)
    config = tmp_path / "tokenizer" / "tokenizer_config.json"
    for length, padded in ((7, 7), (600, 512), (int(1e30), 512)):
        config.write_text(json.dumps(json.loads(config.read_text()) | {"model_max_length": length}))
        loaded = WanGenerator.from_pretrained(str(tmp_path))
        assert loaded.max_text_tokens == padded
        assert loaded.embed(["a ball"])["text"].shape[1] == padded
    assert WanGenerator.from_pretrained(str(tmp_path), max_text_tokens=9).max_text_tokens == 9
    assert WanGenerator.from_pretrained(str(tmp_path), parts=("vae",)).max_text_tokens == 512


def test_recomputed_decoder_is_the_same_and_keeps_less() -> None:
    generator = tiny_generator(5)
    start = 0.1 * torch.randn(1, 4, 4, 4, 4, dtype=torch.float64)
    weight = torch.randn(1, 13, 3, 32, 32, dtype=torch.float64)
    kept: dict[bool, int] = {}
    found = {}
    for recomputes in (False, True):
        if recomputes:
            generator.checkpoint_gradients()
        bytes_kept = [0]

        def keep(tensor: torch.Tensor, bytes_kept: list[int] = bytes_kept) -> torch.Tensor:
            bytes_kept[0] += tensor.untyped_storage().nbytes()
            return tensor

        latents = start.clone().requires_grad_(True)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            frames = generator.decode(latents)
        kept[recomputes] = bytes_kept[0]
        (gradient,) = torch.autograd.grad((frames * weight).sum(), latents)
        found[recomputes] = frames.detach(), gradient
    torch.testing.assert_close(found[True], found[False], rtol=1e-9, atol=1e-9)
    assert kept[True] < 0.5 * kept[False]
    # Without a graph there is nothing to keep, and the usual path is taken.
    with torch.no_grad():
        assert torch.equal(generator.decode(start), tiny_generator(5).decode(start))

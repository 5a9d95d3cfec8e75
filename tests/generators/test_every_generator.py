"""Every generator keeps the contract, and its denoising is that of the public pipeline of the same networks."""

from __future__ import annotations

import pytest
import torch
from tiny_generators import FAMILIES, KINDS, public_encoder_of, public_pipeline, published, tiny

from vist3a.generators.base import VideoGenerator
from vist3a.records import Condition
from vist3a.sampling.rollout import prediction_coefficients, rollout
from vist3a.testing.generators import check_generator

SIZE = (32, 48)
SHAPE = (4, 3, 4, 6)
PROMPTS = ["a red ball on the floor", "the green cube"]


def condition_of(generator: VideoGenerator, count: int = 1) -> Condition:
    """Conditions of the first prompts, or of as many pictures."""
    with torch.no_grad():
        if generator.takes_text:
            return generator.embed(PROMPTS[:count])
        pictures = torch.rand(count, 3, *SIZE, generator=torch.Generator().manual_seed(5))
        return generator.embed_images(pictures, SIZE, [torch.Generator().manual_seed(i) for i in range(count)])


def noise_of(generator: VideoGenerator, frames: int = 9, count: int = 1) -> torch.Tensor:
    return torch.randn(count, *generator.latent_grid(frames, *SIZE), generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("kind", KINDS)
def test_it_keeps_the_contract(kind: str) -> None:
    check_generator(lambda: tiny(kind), published, encoder=public_encoder_of(kind), size=SIZE)


@pytest.mark.parametrize("kind", ["wan", "cogvideox", "hunyuan_video"])
def test_other_frame_counts_and_sizes_are_refused_with_the_allowed_ones(kind: str) -> None:
    generator = tiny(kind)
    with pytest.raises(
        ValueError, match=r"14 frames: this generator takes 1, 5, 9, \.\.\. frames \(nearest: 13 or 17\)"
    ):
        generator.encode(torch.rand(1, 14, 3, *SIZE))
    side = generator.spatial_multiple
    with pytest.raises(ValueError, match=f"both sides must be multiples of {side}"):
        generator.latent_grid(13, side, side + side // 2)


def test_svd_takes_any_number_of_frames() -> None:
    generator = tiny("svd")
    assert [generator.latent_grid(n, 16, 16)[1] for n in (1, 8, 14, 25)] == [1, 8, 14, 25]
    with pytest.raises(ValueError, match="0 frames"):
        generator.latent_grid(0, 16, 16)


def test_a_sampler_that_is_not_linear_is_refused() -> None:
    generator = tiny("wan")
    generator.scheduler = type(generator.scheduler).from_config(
        generator.scheduler.config, thresholding=True, sample_max_value=1.0
    )
    with pytest.raises(ValueError, match="not linear in the predictions"):
        prediction_coefficients(generator, 4, SHAPE)


def test_a_flow_shift_needs_a_schedule_that_has_one() -> None:
    assert tiny("wan").sampler(4, SHAPE, flow_shift=5.0).scheduler.config.flow_shift == 5.0
    assert tiny("hunyuan_video").sampler(4, SHAPE, flow_shift=5.0).scheduler.config.shift == 5.0
    with pytest.raises(ValueError, match="CogVideoXDDIMScheduler has no shift; allowed: null"):
        tiny("cogvideox").sampler(4, SHAPE, flow_shift=5.0)


def test_a_stochastic_sampler_insists_on_its_noise() -> None:
    generator = tiny("cogvideox-rotary")
    with pytest.raises(ValueError, match="one generator per sample"):
        rollout(generator, noise_of(generator), condition_of(generator), None, steps=2, guidance=1.0)


@pytest.mark.parametrize("kind", ["wan", "cogvideox", "hunyuan_video"])
def test_texts_are_embedded_as_the_public_pipeline_does(kind: str) -> None:
    generator = tiny(kind)
    pipeline = public_pipeline(generator)
    with torch.no_grad():
        ours = generator.embed(PROMPTS)
        if kind == "hunyuan_video":
            text, pooled, mask = pipeline.encode_prompt(PROMPTS, max_sequence_length=16)
            torch.testing.assert_close(ours["pooled"], pooled)
            assert torch.equal(ours["mask"], mask)
        else:
            text, _ = pipeline.encode_prompt(
                PROMPTS, do_classifier_free_guidance=False, max_sequence_length=8, device=torch.device("cpu")
            )
    torch.testing.assert_close(ours["text"], text)


def test_what_a_generator_cannot_read_is_said_in_a_sentence() -> None:
    with pytest.raises(ValueError, match=r"takes an image, not a text: give generate\.image"):
        tiny("svd").embed(["a ball"])
    with pytest.raises(ValueError, match="takes a text, not an image"):
        tiny("wan").embed_images(torch.rand(1, 3, 16, 16), (16, 16), [torch.Generator()])
    with pytest.raises(ValueError, match="cannot be aligned with text rewards"):
        tiny("svd").training_pair(*torch.zeros(2, 1, 4, 2, 2, 2), torch.zeros(1))


@pytest.mark.parametrize("kind", FAMILIES)
def test_released_parts_are_missed_by_name(kind: str) -> None:
    generator = tiny(kind)
    generator.release("text", "denoiser")
    with pytest.raises(RuntimeError, match=r"loaded without its (transformer|unet)"):
        _ = generator.denoiser
    generator.encode(torch.rand(1, 5, 3, *SIZE))


def test_cogvideox_decodes_an_even_number_of_latents_by_repeating_the_last() -> None:
    generator = tiny("cogvideox")
    latents = torch.randn(1, 4, 6, 4, 4, generator=torch.Generator().manual_seed(1))
    frames = generator.decode(latents)
    public = (generator.vae.decode(latents[:, :, :5]).sample.transpose(1, 2) + 1).div(2).clamp(0, 1)
    assert torch.equal(frames[:, :17], public)  # everything but the last four frames
    assert torch.equal(generator.decode(latents[:, :, :5]), public)
    padded = torch.cat([latents, latents[:, :, -1:]], dim=2)
    assert torch.equal(frames, generator.decode(padded)[:, :21])
    assert not torch.equal(frames[:, 17:], frames[:, 16:17].expand(-1, 4, -1, -1, -1))


def test_other_versions_are_refused() -> None:
    from diffusers import CogVideoXTransformer3DModel

    from vist3a.generators.cogvideox import CogVideoXGenerator

    sizes = {"num_attention_heads": 1, "attention_head_dim": 16, "in_channels": 4, "num_layers": 1, "text_embed_dim": 8}
    with pytest.raises(ValueError, match=r"CogVideoX 1\.5 .* not supported"):
        newer = CogVideoXTransformer3DModel(**sizes, patch_size_t=2, sample_frames=8)
        CogVideoXGenerator(None, newer, None, None, None, 226)
    with pytest.raises(ValueError, match=r"max_text_tokens: 512, .* exactly 226 tokens"):
        CogVideoXGenerator(None, CogVideoXTransformer3DModel(**sizes), None, None, None, 512)


@pytest.mark.parametrize("kind", FAMILIES)
def test_saving_memory_changes_nothing_that_fits_in_one_piece(kind: str) -> None:
    """Streamed blocks give the same latents; tiles and slices the same frames of clips no larger than a tile."""
    generator = tiny(kind)
    noise, condition = noise_of(generator, frames=5), condition_of(generator)
    with torch.no_grad():
        negative = generator.embed([""]) if generator.uses_negative else None
        latents = generator.encode(torch.rand(2, 5, 3, *SIZE))
        frames = generator.decode(latents)
        generator.save_memory()
        saved = generator.decode(latents)
    if kind == "svd":  # four frames see each other, then the last one alone
        latents, frames = latents[:, :, :4], generator.decode(latents[:, :, :4])
        saved = saved[:, :4]
    torch.testing.assert_close(saved, frames, rtol=1e-4, atol=1e-4)
    expected = rollout(generator, noise, condition, negative, steps=2, guidance=3.0).latents
    generator.stream_denoiser(torch.device("cpu"))
    torch.testing.assert_close(rollout(generator, noise, condition, negative, steps=2, guidance=3.0).latents, expected)


@pytest.mark.parametrize("kind", ["wan", "cogvideox", "hunyuan_video", "svd"])
def test_checkpoints_change_no_gradient(kind: str) -> None:
    found = []
    for checkpointed in (False, True):
        generator = tiny(kind)
        if checkpointed:
            generator.checkpoint_gradients()
        latents = noise_of(generator).requires_grad_(True)
        answer = generator.prediction(latents, torch.tensor([500.0]), condition_of(generator))
        frames = generator.decode(0.1 * latents)
        loss = (answer * torch.linspace(-1, 1, answer.numel()).view(answer.shape)).sum() + frames.square().mean()
        found.append((frames.detach(), *torch.autograd.grad(loss, latents)))
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-5)

"""Every generator keeps the contract, and its denoising is that of the public pipeline of the same networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tiny_generators import FAMILIES, KINDS, family, public_pipeline, tiny

from vist3a.generators.base import VideoGenerator
from vist3a.pairing import load_generator
from vist3a.records import Condition
from vist3a.sampling.rollout import prediction_coefficients, rollout

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


@pytest.mark.parametrize("frames", [9, 13, 17, 21])
@pytest.mark.parametrize("kind", ["wan", "cogvideox", "hunyuan_video", "svd"])
def test_clips_come_back_with_their_frames(kind: str, frames: int) -> None:
    generator = tiny(kind)
    clip = torch.rand(2, frames, 3, *SIZE)
    latents = generator.encode(clip)
    assert tuple(latents.shape[1:]) == generator.latent_grid(frames, *SIZE)
    assert latents.shape[2] == (frames - 1) // generator.temporal_stride + 1
    decoded = generator.decode(latents)
    assert decoded.shape == clip.shape
    assert 0 <= float(decoded.min()) <= float(decoded.max()) <= 1
    torch.testing.assert_close(generator.denormalise(generator.normalise(latents)), latents)


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


@pytest.mark.parametrize("kind", ["wan", "cogvideox", "hunyuan_video", "svd"])
def test_a_sample_of_the_posterior_follows_its_generator(kind: str) -> None:
    generator = tiny(kind)
    clip = torch.rand(1, 5, 3, *SIZE)
    first = generator.encode(clip, torch.Generator().manual_seed(1))
    assert torch.equal(first, generator.encode(clip, torch.Generator().manual_seed(1)))
    assert not torch.equal(first, generator.encode(clip))


@pytest.mark.parametrize("kind", ["wan", "cogvideox", "hunyuan_video", "svd"])
def test_frames_are_resized_on_the_way_in(kind: str) -> None:
    generator = tiny(kind)
    clip = torch.rand(1, 5, 3, 64, 96)
    smaller = torch.nn.functional.interpolate(clip[0], SIZE, mode="bilinear", antialias=True)[None]
    expected = generator.encode(smaller)
    generator.input_size = SIZE
    assert torch.equal(generator.encode(clip), expected)


def public_latents(generator: VideoGenerator, noise: torch.Tensor, condition: Condition, guidance: float) -> Any:
    """What the pipeline makes of the same noise and embeddings in five steps."""
    pipeline, steps = public_pipeline(generator), 5
    common = {"height": SIZE[0], "width": SIZE[1], "num_inference_steps": steps, "output_type": "latent"}
    common["generator"] = torch.Generator().manual_seed(11)
    name = type(generator).__name__
    if name == "SVDGenerator":
        picture = Image.new("RGB", (SIZE[1], SIZE[0]))
        picture.putdata([(i % 256, i // 8 % 256, i // 3 % 256) for i in range(SIZE[0] * SIZE[1])])
        made = pipeline(
            picture, num_frames=noise.shape[2], max_guidance_scale=guidance, latents=noise.transpose(1, 2), **common
        ).frames
        return made.transpose(1, 2)
    common |= {"guidance_scale": guidance, "num_frames": 9}
    if name == "HunyuanVideoGenerator":
        return pipeline(
            latents=noise,
            prompt_embeds=condition["text"],
            prompt_attention_mask=condition["mask"],
            pooled_prompt_embeds=condition["pooled"],
            **common,
        ).frames
    with torch.no_grad():
        negative = generator.embed([""])["text"]
    common |= {"prompt_embeds": condition["text"], "negative_prompt_embeds": negative}
    if name == "WanGenerator":
        return pipeline(latents=noise, **common).frames
    return pipeline(latents=noise.transpose(1, 2), **common).frames.transpose(1, 2)


@pytest.mark.parametrize("guidance", [1.0, 4.0])
@pytest.mark.parametrize("kind", KINDS)
def test_denoising_is_that_of_the_public_pipeline(kind: str, guidance: float) -> None:
    generator = tiny(kind)
    noise = noise_of(generator)
    if kind == "svd":
        picture = torch.tensor([(i % 256, i // 8 % 256, i // 3 % 256) for i in range(SIZE[0] * SIZE[1])])
        image = (picture.float() / 255).T.reshape(1, 3, *SIZE)
        with torch.no_grad():
            condition = generator.embed_images(image, SIZE, [torch.Generator().manual_seed(11)])
        negative = None
    else:
        condition = condition_of(generator)
        with torch.no_grad():
            negative = generator.embed([""]) if generator.uses_negative else None
    expected = public_latents(generator, noise, condition, guidance)
    drawn = [torch.Generator().manual_seed(11)]
    ours = rollout(generator, noise, condition, negative, steps=5, guidance=guidance, generators=drawn).latents
    assert ours.shape == expected.shape
    assert float((ours - expected).abs().max()) <= 1e-5 * float(expected.abs().max())
    assert float(expected.std()) > 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_does_not_depend_on_its_batch_or_order(kind: str) -> None:
    generator = tiny(kind)
    noise, condition = noise_of(generator, count=2), condition_of(generator, 2)
    with torch.no_grad():
        negative = generator.embed([""]) if generator.uses_negative else None

    def sample(rows: list[int]) -> torch.Tensor:
        chosen = Condition({name: tensor[rows] for name, tensor in condition.tensors.items()})
        drawn = [torch.Generator().manual_seed(row) for row in rows]
        return rollout(generator, noise[rows], chosen, negative, steps=3, guidance=3.0, generators=drawn).latents

    both = sample([0, 1])
    for rows in ([1, 0], [0], [1]):
        torch.testing.assert_close(sample(rows), both[rows], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_coefficients_are_the_derivatives_of_the_result(kind: str) -> None:
    """Nudging one step's prediction moves the final latents by its coefficient, whatever the predictions are."""
    generator, steps = tiny(kind), 4
    predictions = torch.randn(steps, 1, 1, 1, 1, 1, generator=torch.Generator().manual_seed(0)).double()

    def result(nudged: int | None) -> float:
        sampler = generator.sampler(steps, SHAPE)
        z = sampler.start(torch.ones(1, 1, 1, 1, 1, dtype=torch.float64))
        drawn = [torch.Generator().manual_seed(9)]
        for k in range(steps):
            sampler.model_input(z, k)
            z = sampler.step(predictions[k] + (1.0 if k == nudged else 0.0), k, z, drawn).double()
        return float(z)

    coefficients = prediction_coefficients(generator, steps, SHAPE)
    base = result(None)
    scale = float(coefficients.abs().max())
    for k in range(steps):
        assert abs(result(k) - base - float(coefficients[k])) <= 2e-4 * scale


@pytest.mark.parametrize("kind", ["wan", "cogvideox", "hunyuan_video", "svd"])
def test_the_table_is_the_sampler(kind: str) -> None:
    """A state from the table against the scheduler stepped through the same predictions, and the scaled inputs."""
    generator, steps = tiny(kind), 6
    noise = noise_of(generator).double()
    predictions = [torch.randn(noise.shape, generator=torch.Generator().manual_seed(k)).double() for k in range(steps)]
    table, sampler = generator.linear_table(steps, SHAPE), generator.sampler(steps, SHAPE)
    assert table.deterministic
    z = sampler.start(noise)
    for k in range(steps):
        torch.testing.assert_close(sampler.model_input(z, k), z * table.scales[k], rtol=1e-5, atol=1e-6)
        z = sampler.step(predictions[k], k, z).double()
        terms = [noise, *predictions[: k + 1]]
        expected = sum(w * term for w, term in zip(table.weights[k], terms, strict=False))
        assert float((z - expected).abs().max()) <= 1e-5 * float(noise.abs().max() * table.weights[k, 0].abs() + 1)
    assert generator.linear_table(steps, SHAPE) is table
    assert generator.linear_table(steps + 1, SHAPE) is not table


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
def test_a_perfect_denoiser_has_no_training_loss(kind: str) -> None:
    """The pair's answer, put into the sampler's own first step from that noise level, leads back to the clean latents."""
    generator = tiny(kind)
    clean, noise = (torch.randn(1, 4, 2, 2, 2, generator=torch.Generator().manual_seed(i)).double() for i in (1, 2))
    sampler = generator.sampler(1, SHAPE)
    level = torch.ones(1).double() if kind == "cogvideox" else sampler.scheduler.sigmas[:1].double()
    pair = generator.training_pair(clean, noise, level)
    assert abs(float(pair.timesteps) - float(sampler.timesteps[0])) < 1  # UniPC rounds down
    sampler.model_input(pair.noisy, 0)
    torch.testing.assert_close(sampler.step(pair.target, 0, pair.noisy).double(), clean, rtol=1e-4, atol=2e-3)


@pytest.mark.parametrize("kind", FAMILIES)
def test_folders_saved_by_diffusers_load(kind: str, tmp_path: Path) -> None:
    generator = tiny(kind, seed=4)
    public_pipeline(generator).save_pretrained(tmp_path)
    loaded = load_generator(
        family(kind),
        str(tmp_path),
        revision=None,
        parts=("vae", "text", "denoiser"),
        dtype="float32",
        max_text_tokens={"wan": 8, "cogvideox": 8, "hunyuan_video": 16, "svd": 1}[kind],
        device=torch.device("cpu"),
    )
    clip = torch.rand(1, 5, 3, *SIZE)
    latents = generator.encode(clip)
    assert torch.equal(loaded.encode(clip), latents)
    assert torch.equal(loaded.decode(latents), generator.decode(latents))
    ours, theirs = condition_of(generator), condition_of(loaded)
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.tensors.items())
    noise, level = noise_of(generator), torch.full((1,), 500.0)
    torch.testing.assert_close(loaded.prediction(noise, level, theirs), generator.prediction(noise, level, ours))
    assert not any(p.requires_grad for p in loaded.parameters())


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


@pytest.mark.parametrize("kind", ["cogvideox", "hunyuan_video", "svd"])
def test_gradient_reaches_the_latents(kind: str) -> None:
    generator = tiny(kind).double()
    latents = 0.1 * torch.randn(1, 4, 2, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(generator.decode, latents.requires_grad_(True), fast_mode=True, atol=1e-4)


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

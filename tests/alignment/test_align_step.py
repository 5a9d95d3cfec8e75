"""Whole alignment steps against one graph of the whole objective: minus the mean reward, plus the weighted generative loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_alignment import PROMPTS, RENDERED, decoder, scorer
from tiny_networks import tiny_generator, tiny_network
from torch import Tensor

from vist3a.adapters.lora import add_lora
from vist3a.alignment.align import AlignData, AlignRun, AlignStep, align
from vist3a.alignment.align_draw import draw_align_step
from vist3a.alignment.align_settings import AlignSettings
from vist3a.alignment.decoded_views import decode_views
from vist3a.alignment.rewards.base import Views
from vist3a.alignment.rewards.one_scorer import reward_from
from vist3a.alignment.rewards.terms import weighted_terms
from vist3a.generators.wan import WanGenerator
from vist3a.records import Clip, Condition
from vist3a.rendering import renderer_for
from vist3a.runtime.launch import ALONE
from vist3a.runtime.loop import LoopConfig, step_generator
from vist3a.sampling.rollout import prompt_generator, prompt_noise
from vist3a.stitching.decoder import StitchedDecoder

CPU = torch.device("cpu")
SEED, STEPS, GUIDANCE, SIZE = 3, 4, 1.5, (16, 16)
MOMENTUM = 0.9
Gradients = Mapping[str, Tensor]


def settings_of(prompts: int, clips: int, **others: Any) -> AlignSettings:
    """Rollouts of four steps at fixed guidance, for clips of five frames."""
    fixed: dict[str, Any] = {
        "seed": SEED, "prompts_per_step": prompts, "clips_per_step": clips, "denoising_steps": STEPS, "guidance": GUIDANCE,
        "frames": 5, "height": SIZE[0], "width": SIZE[1], "loop": LoopConfig(1, 0.0, ema=None),
    }  # fmt: skip
    return AlignSettings(**fixed | others)


def trainable() -> WanGenerator:
    """A generator whose adapter is not at its start, where half of it has no gradient."""
    generator = tiny_generator()
    add_lora(generator.denoiser, 2, 4.0, ["to_q", "to_v"], seed=0)
    generator.denoiser.to(torch.float64)
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in generator.denoiser.parameters():
            if parameter.requires_grad:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=random))
    return generator


def clips() -> list[Clip]:
    random = torch.Generator().manual_seed(1)
    frames = [torch.rand(length, 3, *SIZE, generator=random).double() for length in (5, 9, 5)]
    return [Clip(f"c{i}", part, prompt) for i, (part, prompt) in enumerate(zip(frames, PROMPTS, strict=True))]


@pytest.fixture(scope="module")
def stitched() -> StitchedDecoder:
    torch.manual_seed(0)
    return decoder(tiny_network())


def objective(
    generator: WanGenerator, stitched: StitchedDecoder, settings: AlignSettings, step: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean reward, generative loss and final latents of one step, as the paper writes them, in one graph."""
    random = step_generator(SEED, step)
    drawn = draw_align_step(random, settings)
    noises = settings.noises_per_prompt
    count = settings.prompts_per_step // noises
    prompts = [PROMPTS[(step * count + i) % len(PROMPTS)] for i in range(count) for _ in range(noises)]
    shape = generator.latent_grid(5, *SIZE)
    seeds = [SEED + step + 1_000_003 * number for _ in range(count) for number in range(noises)]
    z = torch.cat([prompt_noise(prompt, seed, shape) for prompt, seed in zip(prompts, seeds, strict=True)]).double()
    with torch.no_grad():
        text, empty = generator.embed(prompts), generator.embed([""])
    sampler = generator.sampler(STEPS, shape)
    for k, timestep in enumerate(sampler.timesteps):
        with torch.set_grad_enabled(k in drawn.keep):
            velocity = generator.guided(z.detach(), timestep.float(), text, empty, GUIDANCE)
        z = z + sampler.scheduler.sigmas.diff()[k].double() * velocity
    raw = generator.denormalise(z)
    frames = generator.decode(raw)
    scene = stitched(raw, SIZE, rgb=frames)
    assert scene.gaussians is not None
    rendered = renderer_for(CPU)(scene.gaussians, scene.cameras[:, drawn.views], SIZE).rgb.clamp(0, 1)
    total, _ = reward_from(scorer(1), RENDERED)(Views(frames[:, drawn.views], rendered, tuple(prompts), scene))
    data = clips()
    chosen = torch.randint(len(data), (settings.clips_per_step,), generator=random).tolist()
    shortest = min(5, *(len(data[i].frames) for i in chosen))
    clean = torch.cat([generator.normalise(generator.encode(data[i].frames[None, :shortest])) for i in chosen])
    noise = torch.randn(clean.shape, generator=random)
    level = torch.rand(len(chosen), generator=random)
    with torch.no_grad():
        captions = generator.embed([data[i].caption for i in chosen])
    # Flow matching: between the clip and noise in a straight line, whose velocity is to be told.
    pair = generator.training_pair(clean, noise, level)
    told = generator.prediction(pair.noisy, pair.timesteps, captions)
    return total.mean(), (told - pair.target).square().mean(), z


def trained(
    stitched: StitchedDecoder,
    settings: AlignSettings,
    steps: int,
    folder: Path,
    generator: WanGenerator | None = None,
    terms: Mapping[str, float] = RENDERED,
) -> tuple[Gradients, dict]:
    """What Adam's first moment holds of the gradients after steps of length zero, and what was logged."""
    generator = trainable() if generator is None else generator
    logged: dict[int, dict[str, float]] = {}
    loop = LoopConfig(
        steps, 0.0, warmup=0, weight_decay=0.0, betas=(MOMENTUM, 0.99), gradient_clip=1e12, log_every=1, ema=None
    )
    align(
        generator,
        stitched,
        reward_from(scorer(1), dict(terms)),
        AlignData(PROMPTS, clips(), generator.embed),
        replace(settings, loop=loop),
        AlignRun(folder / "one.pt", lambda step, scalars: logged.update({step - 1: dict(scalars)})),
    )
    state = torch.load(folder / "one.pt", weights_only=True)
    moments = {key: own["exp_avg"] for key, own in state["optimizers"][0]["state"].items()}
    return {name: moments[i] for i, name in enumerate(state["parameters"])}, logged


def same(found: Gradients, expected: Gradients) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert float(value.norm()) > 0, name
        assert float((found[name] - value).norm()) <= 1e-4 * float(value.norm()), name


@pytest.mark.parametrize(
    ("weight", "variant", "lean"),
    [
        (0.3, "drtune", {}),
        (2.0, "released", {}),
        (0.0, "last", {}),
        (0.3, "drtune", {"frames_apart": True, "clips_at_once": 1}),
        (0.3, "released", {"views_at_once": 1}),
        (0.3, "last", {"frames_apart": True, "views_at_once": 2}),
        (0.3, "drtune", {"noises_per_prompt": 2}),
    ],
)
def test_the_gradient_is_that_of_the_whole_objective(
    stitched: StitchedDecoder, tmp_path: Path, weight: float, variant: str, lean: dict[str, Any]
) -> None:
    """Of two steps, which differ in prompts, noise, views and clips."""
    settings = settings_of(2, 2, gradient_steps=2, scored_views=3, generative_weight=weight, variant=variant, **lean)
    found, logged = trained(stitched, settings, 2, tmp_path)
    generator = trainable()
    expected: dict[str, Tensor] = {}
    for step in range(2):
        generator.zero_grad()
        reward, generative, z = objective(generator, stitched, settings, step)
        (-reward + weight * generative).backward()
        reward, generative = reward.detach(), generative.detach()
        for name, parameter in generator.denoiser.named_parameters():
            if parameter.grad is not None:
                key = f"transformer.{name}"
                expected[key] = MOMENTUM * expected.get(key, torch.zeros(())) + (1 - MOMENTUM) * parameter.grad
        row = logged[step]
        assert row["reward/total"] == pytest.approx(float(reward), rel=1e-6)
        assert row["generative_loss"] == pytest.approx(float(generative), rel=1e-6)
        assert row["loss"] == pytest.approx(weight * float(generative), rel=1e-6)
        total = sum(RENDERED[name] * row[f"reward/{name}"] for name in RENDERED)
        assert row["reward/total"] == pytest.approx(total, rel=1e-6)
        assert z.dtype == torch.float64
    same(found, expected)


def test_a_sampler_that_adds_noise_adds_another_in_every_step(stitched: StitchedDecoder, tmp_path: Path) -> None:
    """Drawn for (prompt, seed + step), apart from the noise that it starts from; CogVideoX's sampler is the one that does."""
    from diffusers import CogVideoXDPMScheduler

    def noisy() -> WanGenerator:
        generator = trainable()
        generator.scheduler = CogVideoXDPMScheduler(prediction_type="v_prediction", clip_sample=False)
        assert generator.sampler(STEPS, generator.latent_grid(5, *SIZE)).stochastic
        return generator

    settings = settings_of(1, 1, gradient_steps=1, scored_views=5, generative_weight=0.0)
    _, logged = trained(stitched, settings, 2, tmp_path, noisy(), {"text_decoded": 1.0})
    generator = noisy()
    for step in range(2):
        text, empty = generator.embed([PROMPTS[step]]), generator.embed([""])
        along = [prompt_generator(f"steps/{PROMPTS[step]}", SEED + step)]
        sampler = generator.sampler(STEPS, generator.latent_grid(5, *SIZE))
        z = sampler.start(prompt_noise(PROMPTS[step], SEED + step, generator.latent_grid(5, *SIZE)))
        with torch.no_grad():
            for k, timestep in enumerate(sampler.timesteps):
                z = sampler.step(generator.guided(z, timestep.float(), text, empty, GUIDANCE), k, z, along).to(z.dtype)
            frames = generator.decode(generator.denormalise(z))
            wanted, _ = reward_from(scorer(1), {"text_decoded": 1.0})(Views(frames.double(), None, (PROMPTS[step],)))
        assert logged[step]["reward/total"] == pytest.approx(float(wanted), rel=1e-4)


@pytest.mark.parametrize(
    "terms", [{"text_decoded": 1.0}, {"text_rendered": 1.0}, {"camera_smoothness": 1.0, "reprojection": 1.0}]
)
def test_frames_apart_change_no_gradient_whatever_the_terms_read(
    stitched: StitchedDecoder, terms: Mapping[str, float]
) -> None:
    gradients = []
    latents = 0.5 * torch.randn(2, 4, 2, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    for apart in (False, True):
        settings = settings_of(2, 1, gradient_steps=1, scored_views=3, generative_weight=0.0, frames_apart=apart)
        generator = trainable()
        data = AlignData(PROMPTS, clips(), generator.embed)
        rewards = weighted_terms(terms, {"text": scorer(1)}, None)
        step = AlignStep(generator, stitched, rewards, data, settings, ALONE)
        drawn = draw_align_step(step_generator(SEED, 0), settings)
        gradients.append(step.reward_gradient(latents, PROMPTS[:2], drawn, by_term=False)[0])
    assert float(gradients[0].norm()) > 1e-6
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-9, atol=1e-12)
    with pytest.raises(ValueError, match=r"align\.term_gradients_every: 3.*frames_apart"):
        settings_of(
            2, 1, gradient_steps=1, scored_views=3, generative_weight=0.0, frames_apart=True, term_gradients_every=3
        )


def test_a_step_raises_the_reward(stitched: StitchedDecoder, tmp_path: Path) -> None:
    """Along the direction that the optimiser is given, downhill of its loss, the reward of the same step rises at that rate."""
    settings = settings_of(2, 2, gradient_steps=2, scored_views=3, generative_weight=0.0)
    found, _ = trained(stitched, settings, 1, tmp_path)
    rewards = []
    slope = sum(float(value.square().sum()) for value in found.values()) / (1 - MOMENTUM)
    length = 1e-5 / slope**0.5
    for sign in (-1, 1):
        generator = trainable()
        parameters = dict(generator.denoiser.named_parameters())
        # Inputs of the denoiser are constants of this gradient: the reward must rise, by how much is not its promise.
        with torch.no_grad():
            for name, moment in found.items():
                parameters[name.removeprefix("transformer.")].sub_(sign * length * moment)
            rewards.append(float(objective(generator, stitched, settings, 0)[0]))
    assert rewards[1] > rewards[0]


def test_a_mean_over_prompts_does_not_depend_on_their_number(stitched: StitchedDecoder, tmp_path: Path) -> None:
    """The generative loss is a mean over clips and the reward a mean over prompts, each logged as such."""
    rows = []
    for count in (1, 3):
        settings = settings_of(
            count, count, gradient_steps=1, scored_views=2, generative_weight=0.5, term_gradients_every=2
        )
        _, logged = trained(stitched, settings, 2, tmp_path / str(count))
        rows.append(logged[0])
        # Terms are looked at on their own in every second step; in the others the last norms stand.
        norms = {name: value for name, value in logged[0].items() if name.startswith("reward_gradient/")}
        assert norms.keys() == {f"reward_gradient/{name}" for name in RENDERED}
        assert all(logged[1][name] == value > 0 for name, value in norms.items())
    for name in RENDERED:
        assert abs(rows[0][f"reward/{name}"] - rows[1][f"reward/{name}"]) < 0.5


def test_views_are_what_the_terms_need(stitched: StitchedDecoder) -> None:
    """Decoded frames and renderings are those of the chosen views, and what nobody reads is not made."""
    generator = tiny_generator()
    z = torch.randn(2, *generator.latent_grid(5, *SIZE), generator=torch.Generator().manual_seed(2)).double()
    chosen, render = torch.tensor([4, 1]), renderer_for(CPU)
    raw = generator.denormalise(z)
    frames = generator.decode(raw)
    scene = stitched(raw, SIZE, rgb=frames)
    assert scene.gaussians is not None
    pictures = render(scene.gaussians, scene.cameras, SIZE).rgb.clamp(0, 1)
    for needs in ({"decoded"}, {"rendered"}, {"decoded", "rendered"}, {"scene"}, {"gaussians"}):
        views, found = decode_views(generator, stitched, render, z, PROMPTS[:2], chosen, needs)
        assert views.prompts == tuple(PROMPTS[:2]) and views.scene is found
        torch.testing.assert_close(found.depth, scene.depth)
        assert ("rendered" in needs) == (views.rendered is not None)
        assert bool({"rendered", "gaussians"} & needs) == (found.gaussians is not None)
        if views.rendered is not None:
            torch.testing.assert_close(views.rendered, pictures[:, chosen], atol=1e-6, rtol=1e-5)
        if "decoded" in needs:
            assert views.decoded is not None
            torch.testing.assert_close(views.decoded, frames[:, chosen])


def test_geometry_alone_decodes_no_frame_and_renders_nothing(
    stitched: StitchedDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a network whose Gaussian head reads the image; the reward and its gradient are those that are beside a picture's."""
    counted, decode, draw = {"decoded": 0, "rendered": 0}, WanGenerator.decode, renderer_for(CPU)

    def decoding(generator: WanGenerator, latents: Tensor) -> Tensor:
        counted["decoded"] += 1
        return decode(generator, latents)

    def rendering(*given: Any) -> Any:
        counted["rendered"] += 1
        return draw(*given)

    monkeypatch.setattr(WanGenerator, "decode", decoding)
    assert stitched.needs_rgb and stitched.network.has_gaussians
    geometry = {"reprojection": 1.0, "camera_smoothness": 0.1}
    settings, gradients, rows = settings_of(2, 1, gradient_steps=1, scored_views=3, generative_weight=0.0), [], []
    for terms in (geometry, geometry | dict.fromkeys(RENDERED, 0.0)):
        generator, counted["decoded"], counted["rendered"] = trainable(), 0, 0
        step = AlignStep(
            generator, stitched, reward_from(scorer(1), terms), AlignData(PROMPTS, clips(), generator.embed), settings,
            ALONE, rendering,
        )  # fmt: skip
        rows.append(step(0)[1])
        wanted = 0 if terms is geometry else 1
        assert counted == {"decoded": wanted, "rendered": wanted}
        gradients.append({name: p.grad for name, p in generator.denoiser.named_parameters() if p.grad is not None})
    assert rows[0]["reward_gradient_norm"] > 0
    assert float(rows[0]["reward/total"]) == pytest.approx(float(rows[1]["reward/total"]), rel=1e-6)
    same(*gradients)


def test_impossible_alignments_are_refused(stitched: StitchedDecoder, tmp_path: Path) -> None:
    generator = trainable()
    for prompts, count, sentence in (
        ([], 1, "at least one prompt"),
        (PROMPTS, 0, r"align\.clips_per_step: 0, but there are 1 processes; allowed: at least 1"),
    ):
        with pytest.raises(ValueError, match=sentence):
            align(
                generator, stitched, reward_from(scorer(1), RENDERED), AlignData(prompts, clips(), generator.embed),
                settings_of(1, count, gradient_steps=1, scored_views=2, generative_weight=0.5),
            )  # fmt: skip


def test_rollouts_are_asked_by_place_and_clips_cut_to_their_length(stitched: StitchedDecoder) -> None:
    """Two steps of two prompts have the places 0 to 3; a clip of nine frames gives the loss of its first five."""
    losses, places = [], []
    for long in (True, False):
        generator = trainable()

        def ask(prompts: Sequence[str], where: Sequence[int], generator: WanGenerator = generator) -> Condition:
            places.append(list(where))
            return generator.embed([f"{prompt} on the floor" for prompt in prompts])

        loop = LoopConfig(2, 1e-3, warmup=0, log_every=1, ema=None)
        settings = settings_of(2, 2, gradient_steps=2, scored_views=3, generative_weight=1.0, loop=loop)
        reward, seen = reward_from(scorer(0), RENDERED), []
        data = [Clip(c.name, c.frames if long else c.frames[:5], c.caption) for c in clips()]
        run = AlignRun(log=lambda _, scalars, seen=seen: seen.append(scalars["generative_loss"]))
        align(generator, stitched, reward, AlignData(PROMPTS, data, generator.embed, ask), settings, run)
        losses.append(seen)
    assert places == [[0, 1], [2, 3]] * 2
    assert losses[0] == losses[1]


def test_the_gradient_through_all_steps_is_that_of_the_whole_objective_with_the_distance_to_what_it_was(
    stitched: StitchedDecoder, tmp_path: Path
) -> None:
    """One graph from noise to reward, nothing detached; and the squared distance to the plain generator on those states."""
    settings = settings_of(
        2, 1, gradient_steps=9, scored_views=5, generative_weight=0.7, variant="all", regularizer="distillation"
    )
    found, logged = trained(stitched, settings, 1, tmp_path)
    generator, plain = trainable(), tiny_generator()
    prompts, shape = PROMPTS[:2], generator.latent_grid(5, *SIZE)
    z = torch.cat([prompt_noise(prompt, SEED, shape) for prompt in prompts]).double()
    text, empty = generator.embed(prompts), generator.embed([""])
    sampler, distance = generator.sampler(STEPS, shape), torch.zeros(())
    for k, timestep in enumerate(sampler.timesteps.float()):
        velocity = generator.guided(z, timestep, text, empty, GUIDANCE)
        here = z.detach()
        now, before = (one.guided(here, timestep, text, empty, GUIDANCE) for one in (generator, plain))
        distance = distance + (now - before.detach()).square().mean() / STEPS
        z = z + sampler.scheduler.sigmas.diff()[k].double() * velocity
    raw = generator.denormalise(z)
    frames = generator.decode(raw)
    scene = stitched(raw, SIZE, rgb=frames)
    assert scene.gaussians is not None
    rendered = renderer_for(CPU)(scene.gaussians, scene.cameras, SIZE).rgb.clamp(0, 1)
    total, _ = reward_from(scorer(1), RENDERED)(Views(frames, rendered, tuple(prompts), scene))
    (-total.mean() + 0.7 * distance).backward()
    expected = {
        f"transformer.{name}": (1 - MOMENTUM) * p.grad
        for name, p in generator.denoiser.named_parameters()
        if p.grad is not None
    }
    same(found, expected)
    assert logged[0]["distillation_loss"] == pytest.approx(float(distance.detach()), rel=1e-6)
    assert logged[0]["loss"] == pytest.approx(0.7 * float(distance.detach()), rel=1e-6)
    assert "generative_loss" not in logged[0]


def test_a_shortened_generator_is_neither_guided_again_nor_held_by_a_loss_that_undoes_its_guidance(
    stitched: StitchedDecoder, tmp_path: Path
) -> None:
    generator = trainable()
    generator.only_guidance = 1.0
    settings = settings_of(1, 1, gradient_steps=1, scored_views=2, generative_weight=0.5, regularizer="distillation")
    for guidance in (1.5, (1.0, 2.0)):
        with pytest.raises(ValueError, match=r"guidance (1\.5|2), but this generator was shortened.*allowed: 1"):
            trained(stitched, replace(settings, guidance=guidance), 1, tmp_path, generator)
    with pytest.raises(
        ValueError, match=r"align\.regularizer: generative, but a shortened generator.*allowed: distillation"
    ):
        trained(stitched, replace(settings, guidance=1.0, regularizer="generative"), 1, tmp_path, generator)
    trained(stitched, replace(settings, guidance=1.0), 1, tmp_path, generator)

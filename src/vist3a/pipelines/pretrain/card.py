"""The node that measures the embedded networks as stored and writes their model card."""

from __future__ import annotations

from pathlib import Path

from vist3a.engine.device import resolve_device
from vist3a.models.networks import load_generator, load_reconstruction
from vist3a.models.scorers import DualEncoder
from vist3a.pipelines.pretrain.params import PretrainParams
from vist3a.rendering import renderer_for
from vist3a.scenes.procedural import WorldConfig
from vist3a.training.pretrain.figures import digests, geometry_figures, text_figures
from vist3a.training.sampling import SamplingConfig

CARD = """# Embedded networks

Small networks of the published architectures, trained from scratch on this project's procedural world
(`kedro run --pipeline=pretrain`). They exist so that the whole chain runs for real without any download; they know spheres,
cubes, cylinders and cones on a ground at {size}x{size} px and {frames} frames, and nothing else.

| network | architecture | data seed | planned steps |
|---|---|---|---|
{networks}

The planned steps are those of this repository's parameters. The shipped set was trained on two H200 GPUs within 16
minutes, each training cut short at its share of the time (`pretrain.max_seconds`).

## Held-out figures

Measured on the stored files: {scenes} scenes of seed {seed} (not trained on), {prompts} single-object prompts.

| figure | value |
|---|---|
{figures}

## Files

| file | sha256 |
|---|---|
{files}

Licence: Apache-2.0, as the project. The scenes are synthetic; no third-party data or weights went in.
"""


def describe_networks(
    params: PretrainParams, generator_folder: Path, reconstruction_folder: Path, scorer_folder: Path, judge_folder: Path
) -> str:
    """The model card."""
    device = resolve_device(params.device)
    tokens = params.denoiser.max_text_tokens
    generator = load_generator(
        "wan",
        str(generator_folder),
        revision=None,
        parts=("vae", "text", "denoiser"),
        dtype="float32",
        max_text_tokens=tokens,
        device=device,
    )
    network = load_reconstruction("anysplat", str(reconstruction_folder), dtype="float32", device=device)
    judge = DualEncoder.from_pretrained(judge_folder, device)
    scorers = {"judge": judge, "reward_scorer": DualEncoder.from_pretrained(scorer_folder, device)}
    card = params.card
    world = WorldConfig(
        seed=card.seed, frames=params.frames, extra_views=card.extra_views, height=params.size, width=params.size
    )
    sampling = SamplingConfig(card.steps, card.guidance, params.frames, params.size, params.size)
    figures = geometry_figures(generator, network, renderer_for(device), world, card.scenes, device)
    figures |= text_figures(generator, judge, scorers, world, sampling, card.prompts, device)
    trained = {
        "generator/vae": ("Wan 2.1 autoencoder", params.vae.seed, params.vae.loop.steps),
        "generator/transformer, text_encoder": (
            "Wan 2.1 denoiser, UMT5",
            params.denoiser.seed,
            params.denoiser.loop.steps,
        ),
        "reconstruction": ("AnySplat", params.reconstruction.seed, params.reconstruction.loop.steps),
        "reward_scorer": ("dual encoder, convolutional", params.reward_scorer.seed, params.reward_scorer.loop.steps),
        "judge": ("dual encoder, hybrid, attribute heads", params.judge.seed, params.judge.loop.steps),
    }
    return CARD.format(
        size=params.size,
        frames=params.frames,
        networks="\n".join(f"| {name} | {a} | {seed} | {steps} |" for name, (a, seed, steps) in trained.items()),
        scenes=card.scenes,
        seed=card.seed,
        prompts=card.prompts,
        figures="\n".join(f"| {name} | {value:.4f} |" for name, value in figures.items()),
        files="\n".join(f"| {name} | `{digest}` |" for name, digest in digests(generator_folder.parent).items()),
    )

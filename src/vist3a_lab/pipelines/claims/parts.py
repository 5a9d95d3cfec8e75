"""The parts of one seed: geometry, noise, shifted worlds, generation, orders of views.

Each is kept as JSON, so that a killed run goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from vist3a.alignment.rewards.one_scorer import reward_from
from vist3a.alignment.rewards.terms import term_names
from vist3a.alignment.rewards.weighted_sum import WeightedSum
from vist3a.records.clip_shape import ClipShape
from vist3a.rendering import renderer_for
from vist3a.runtime.device import resolve_device
from vist3a.sampling.sampling import SamplingConfig, sample_latents
from vist3a.stitching.base import Decoder
from vist3a.stitching.decoder import StitchedDecoder
from vist3a.stitching.functional_error import sequential, stitched
from vist3a.stitching.sequential import SequentialDecoder
from vist3a.stitching.store import load_fit
from vist3a_app.pipelines.aligned import load_adapter
from vist3a_app.pipelines.evaluate.judge import own_terms
from vist3a_app.pipelines.stitched import load_decoder
from vist3a_lab.claims import measurements
from vist3a_lab.pipelines.claims.training import Study
from vist3a_lab.pipelines.heldout_prompts import heldout_prompts
from vist3a_lab.pipelines.kept_parts import kept_figures
from vist3a_lab.procedural import WorldConfig
from vist3a_lab.procedural.shifted import SHIFTS
from vist3a_lab.scorers import DualEncoder
from vist3a_lab.scorers.judging import shows


def geometry(study: Study, seed: int) -> dict[str, Any]:
    """The original network, decoding first, and stitching without and with distillation, against exact scenes."""
    device = resolve_device(study.networks.device)
    generator, original = study.networks.load_generator("vae"), study.networks.load_reconstruction()
    fit, spec = load_fit(study.stitch_layer)
    variants = {
        "original": original.reconstruct,
        "sequential": sequential(original, generator),
        "stitched": stitched(StitchedDecoder(original, spec, fit).to(device), generator),
        "stitched_distilled": stitched(_decoder(study, seed), generator),
    }
    params = study.params
    return measurements.compare_variants(
        variants,
        _world(study, seed),
        params.scenes,
        renderer_for(device),
        params.pixel_step,
        generator.allowed_frames,
        device,
    )


def noise(study: Study, seed: int) -> dict[str, Any]:
    """Stitched against decoding first, by the share of noise on the latents."""
    device, params = resolve_device(study.networks.device), study.params
    generator, original = study.networks.load_generator("vae"), study.networks.load_reconstruction()
    decoders: dict[str, Decoder] = {
        "sequential": SequentialDecoder(original),
        "stitched_distilled": _decoder(study, seed),
    }
    world = _world(study, seed)
    return measurements.compare_under_noise(
        generator, decoders, params.noise_shares, world, params.noise_scenes, params.pixel_step, device
    )


def shifted(study: Study, seed: int) -> dict[str, Any]:
    """The original network, decoding first, and stitching, by a world that the original was not trained on."""
    device, params = resolve_device(study.networks.device), study.params
    generator, original = study.networks.load_generator("vae"), study.networks.load_reconstruction()
    variants = {
        "original": original.reconstruct,
        "sequential": sequential(original, generator),
        "stitched_distilled": stitched(_decoder(study, seed), generator),
    }
    if params.distilled_there:
        variants["stitched_distilled_there"] = stitched(
            load_decoder(study.networks, study.decoder_there(seed)), generator
        )
    return {
        name: measurements.compare_shifted(
            variants, shift, _world(study, seed), params.shifted_scenes, renderer_for(device), params.pixel_step,
            generator.allowed_frames, device,
        )
        for name, shift in SHIFTS.items()
    }  # fmt: skip


def generated(study: Study, seed: int) -> dict[str, Any]:
    """Scenes of held-out prompts from the same noise: decoding first, stitched and distilled, the same after alignment."""
    networks, params, how = study.networks, study.params, study.evaluate
    device = resolve_device(networks.device)
    own = params.heldout_seed + seed
    prompts = heldout_prompts(study.align, seed, own, params.prompts)
    judge, reward = judge_of(study)
    adapter, decoder = study.adapter(seed), _decoder(study, seed)
    embed, negative = networks.embed(prompts, study.text_embeddings)
    generator, original = networks.load_generator("vae", "denoiser"), networks.load_reconstruction()
    config = replace(how.part(SamplingConfig), **asdict(params.part(ClipShape)))
    score = partial(
        measurements.score_generated, generator, render=renderer_for(device),
        judge=reward,
        verdict=partial(shows, judge) if judge.attribute_heads else None, prompts=prompts,
    )  # fmt: skip
    latents = sample_latents(generator, embed, prompts, config, own, device, negative, how.batch)
    found = {
        "sequential": score(SequentialDecoder(original), latents=latents),
        "stitched_distilled": score(decoder, latents=latents),
    }
    load_adapter(networks, generator, adapter, study.decoder(seed))
    # The same prompts and noise once more, now with the adapter.
    latents = sample_latents(generator, embed, prompts, config, own, device, negative, how.batch)
    return {**found, "aligned": score(decoder, latents=latents)}


def judge_of(study: Study) -> tuple[DualEncoder, WeightedSum]:
    """The judge, and its score by the terms of the reward that it can tell by itself.

    Raises:
        ValueError: The reward has none of these, or there is no such judge.
    """
    own = own_terms(study.align.rewards.given())
    if not own:
        raise ValueError(
            f"align.rewards: {', '.join(study.align.rewards.given())} are terms of other models, by which the claims' judge "
            f"cannot score; allowed: at least one of {', '.join(term_names(('text',)))}"
        )
    judge = DualEncoder.from_pretrained(Path(study.evaluate.judge), resolve_device(study.networks.device))
    return judge, reward_from(judge, own)


def orders(study: Study, seed: int) -> dict[str, Any]:
    """The same views in true, random and found order."""
    device, params = resolve_device(study.networks.device), study.params
    generator, original = study.networks.load_generator("vae"), study.networks.load_reconstruction()
    return measurements.compare_orders(
        original, _decoder(study, seed), generator, _world(study, seed), params.scenes, params.pixel_step, device
    )


PARTS: dict[str, Callable[[Study, int], dict[str, Any]]] = {
    "geometry": geometry, "noise": noise, "shifted": shifted, "generated": generated, "orders": orders,
}  # fmt: skip


def measured(study: Study, seed: int, part: str) -> dict[str, Any]:
    """Figures of a part, from an earlier run where there was one; values that are not finite become null."""
    return kept_figures(study.folder(seed, part), lambda: PARTS[part](study, seed), "claims", f"{part} of seed {seed}")


def _decoder(study: Study, seed: int) -> StitchedDecoder:
    return load_decoder(study.networks, study.decoder(seed))


def _world(study: Study, seed: int) -> WorldConfig:
    params = study.params
    return WorldConfig(params.heldout_seed + seed, params.frames, height=params.height, width=params.width)

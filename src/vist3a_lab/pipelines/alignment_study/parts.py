"""One seed and variant: its adapter and its figures, each kept until the report is there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from vist3a.alignment.rewards.consistency import feature_distance
from vist3a.alignment.rewards.terms import KINDS, weighted_terms
from vist3a.generators.base import VideoGenerator
from vist3a.metrics.video import diversity
from vist3a.networks.base import ReconstructionModel
from vist3a.rendering import renderer_for
from vist3a.runtime.device import resolve_device
from vist3a.runtime.run_folder import run_folder
from vist3a.sampling.sampling import sample_latents
from vist3a_app.pipelines.align.nodes import align_generator
from vist3a_app.pipelines.align.params import AlignParams, RewardWeights
from vist3a_app.pipelines.align.reward_models import load_reward_models
from vist3a_app.pipelines.aligned import load_adapter
from vist3a_app.pipelines.networks import Networks
from vist3a_app.pipelines.stitched import load_decoder
from vist3a_lab.pipelines.alignment_study.params import AlignmentStudyParams
from vist3a_lab.pipelines.heldout_prompts import heldout_prompts
from vist3a_lab.pipelines.kept_parts import kept_figures, kept_folder
from vist3a_lab.procedural import WorldConfig, make_world
from vist3a_lab.scorers import DualEncoder
from vist3a_lab.scorers.judging import shows
from vist3a_lab.studies.alignment_bars import TRUE_CLIPS
from vist3a_lab.studies.alignment_study import BESIDE, OPTIMISED, UNTRAINED, score_variant, variant_weights
from vist3a_lab.studies.film_scores import DIVERSITY, film_scores

STATE = "alignment_study"
APART = 100_003
"""Between the seeds of the noises of one prompt, so that neighboring held-out seeds share none."""


@dataclass(frozen=True)
class Study:
    """Everything that the figures depend on, and where unfinished ones are kept."""

    params: AlignmentStudyParams
    align: AlignParams
    networks: Networks
    stitched_decoder: Path
    clips: Path
    clip_index: pd.DataFrame
    checkpoints: Path
    text_embeddings: Path

    def check(self) -> None:
        """Before hours of training.

        Raises:
            ValueError: There is no further generator where one is named, or ``full_motion`` has no weight or no path to hold.
        """
        beside = self.params.beside
        if beside is not None and not Path(beside).is_dir():
            raise ValueError(f"alignment_study.beside: {beside} is no folder; allowed: that of a generator, or null")
        for variant in OPTIMISED:
            variant_weights(self.align.weights(True), variant, self.params.camera_motion)
        if self.align.motion is None:
            raise ValueError(
                "align.motion: null, but full_motion holds it; allowed: the camera's path in median depths"
            )

    def figures(self, seed: int, variant: str) -> dict[str, Any]:
        """Of a variant: ``scores``, a value per held-out prompt by figure, and ``diversity``."""
        return self._kept(seed, variant, self._params(), lambda: self._measured(seed, variant))

    def true_clips(self, seed: int) -> dict[str, Any]:
        """Film figures of exact clips of the procedural world, as many as there are prompts."""
        return self._kept(seed, TRUE_CLIPS, self._params(), lambda: self._filmed(self._clips_of_world(seed)))

    def beside(self, seed: int) -> dict[str, Any]:
        """Film figures of the further generator, by prompts and noise of the others."""
        changed = self.networks.generator.model_copy(update={"source": self.params.beside})
        other = replace(self, networks=self.networks.model_copy(update={"generator": changed}))
        return other._kept(seed, BESIDE, other._params(), lambda: other._filmed(other._videos(seed)))

    def _kept(self, seed: int, variant: str, how: str, measure: Any) -> dict[str, Any]:
        folder = self._folder("figures", seed, variant, how)
        return kept_figures(folder, measure, STATE, f"{variant} of seed {seed}")

    def _params(self) -> str:
        """What figures depend on; the weight of motion is in the alignment, the further generator among the networks."""
        return self.params.model_dump_json(exclude={"seeds", "beside", "camera_motion"})

    def _adapter(self, seed: int, variant: str) -> Path:
        """The aligned generator: another seed has other prompts, noise and initial weights, another variant another reward."""
        return kept_folder(
            # Trained alike however it is measured.
            self._folder("adapter", seed, variant, ""),
            lambda: align_generator(
                self._alignment(seed, variant), self.networks, self.stitched_decoder, self.clips, self.clip_index,
                self.checkpoints, self.text_embeddings,
            )[0],
        )  # fmt: skip

    def _alignment(self, seed: int, variant: str) -> AlignParams:
        changes: dict[str, Any] = {
            "seed": seed,
            "denoising_steps": self.params.denoising_steps,
            "guidance": self.align.middle_sampling().guidance,
            "loop": replace(self.align.loop, steps=self.params.steps),
        }
        if variant not in (UNTRAINED, TRUE_CLIPS, BESIDE):
            weights = variant_weights(self.align.weights(True), variant, self.params.camera_motion)
            # Whichever set the alignment takes its weights from, these are the ones that hold; and what a variant does to the
            # motion is to be seen, so that no look keeps an earlier adapter.
            changes |= {
                "rewards": RewardWeights(**weights),
                "rewards_from": "pictures",
                "watch": self.align.watch.model_copy(update={"films_every": 0, "judge_every": 0, "previews_every": 0}),
            }
        return self.align.model_copy(update=changes)

    def _folder(self, part: str, seed: int, variant: str, measured: str) -> Path:
        """Named by the variant's alignment, by what it is ``measured`` with, by the decoder, the clips and the weights."""
        weights = (self.networks.generator.source, self.networks.reconstruction.source, self.align.reward_scorer,
                   self.params.judge)  # fmt: skip
        # A variant trains on its own rewards and is measured by the whole one: both are in the name.
        return run_folder(
            self.checkpoints / STATE, f"{part}-{variant}-{seed}", measured,
            self._alignment(seed, variant).model_dump_json(), self.align.rewards.model_dump_json(),
            self.networks.model_dump_json(), self.clip_index.to_json(),
            self.stitched_decoder, *(Path(source) for source in weights if Path(source).exists()),
        )  # fmt: skip

    def _measured(self, seed: int, variant: str) -> dict[str, Any]:
        networks, params, how = self.networks, self.params, self.align
        device = resolve_device(networks.device)
        decoder, original = load_decoder(networks, self.stitched_decoder), self._original()
        judge = DualEncoder.from_pretrained(Path(params.judge), device)
        scorers = {
            "reward": load_reward_models(how, True, device, networks.known.rewards, watched=False).reward,
            "judge": weighted_terms({f"text_{kind}": 1.0 for kind in KINDS}, {"text": judge}, None),
        }
        prompts = self._prompts(seed)
        adapter = None if variant == UNTRAINED else self._adapter(seed, variant)
        generator = networks.load_generator("vae", "denoiser")
        if adapter is not None:
            load_adapter(networks, generator, adapter, self.stitched_decoder)
        verdict = partial(shows, judge) if judge.attribute_heads else None
        latents, render = self._latents(generator, seed, prompts), renderer_for(device)
        scores, videos = score_variant(generator, decoder, render, scorers, verdict, prompts, latents)
        scores |= film_scores(original, render, videos, params.batch, device)
        several = [self._decoded(generator, self._latents(generator, seed, prompts[: params.diversity_prompts], number))
                   for number in range(params.diversity_noises)]  # fmt: skip
        distance = feature_distance(judge.feature_maps)
        varied = [diversity([film.to(device) for film in films], distance) for films in zip(*several, strict=True)]
        return {"scores": scores, DIVERSITY: {DIVERSITY: varied}}

    def _original(self) -> ReconstructionModel:
        """The original 3D network, which no alignment looks through."""
        original = self.networks.load_reconstruction()
        if not original.has_gaussians:
            raise ValueError(
                f"networks.reconstruction.family: {self.networks.reconstruction.family} has no Gaussian head, so that nothing "
                "can be rendered; allowed for the alignment study: a network with one"
            )
        return original

    def _prompts(self, seed: int) -> list[str]:
        return heldout_prompts(self.align, seed, self.params.heldout_seed + seed, self.params.prompts)

    def _latents(self, generator: VideoGenerator, seed: int, prompts: list[str], number: int = 0) -> list[Tensor]:
        """Of held-out prompts, from the noise of this number."""
        embed, negative = self.networks.embed(prompts, self.text_embeddings)
        config = replace(self.align.middle_sampling(), steps=self.params.denoising_steps)
        own, device = self.params.heldout_seed + seed + APART * number, resolve_device(self.networks.device)
        return sample_latents(generator, embed, prompts, config, own, device, negative, self.params.batch)

    @torch.no_grad()
    def _decoded(self, generator: VideoGenerator, latents: list[Tensor]) -> list[Tensor]:
        size = self.params.batch
        parts = [generator.decode(torch.cat(latents[i : i + size])).cpu() for i in range(0, len(latents), size)]
        return list(torch.cat(parts))

    def _videos(self, seed: int) -> list[Tensor]:
        generator = self.networks.load_generator("vae", "denoiser")
        return self._decoded(generator, self._latents(generator, seed, self._prompts(seed)))

    def _clips_of_world(self, seed: int) -> list[Tensor]:
        how, device = self.align, resolve_device(self.networks.device)
        world = WorldConfig(self.params.heldout_seed + seed, how.frames, height=how.height, width=how.width)
        return [make_world(world, [index], device=device).rgb[0].cpu() for index in range(self.params.prompts)]

    def _filmed(self, videos: list[Tensor]) -> dict[str, Any]:
        device = resolve_device(self.networks.device)
        return {"films": film_scores(self._original(), renderer_for(device), videos, self.params.batch, device)}

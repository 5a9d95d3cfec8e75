"""One seed and variant: its adapter and its figures, each kept until the report is there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from vist3a.alignment.rewards.terms import KINDS, weighted_terms
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
from vist3a_lab.scorers import DualEncoder
from vist3a_lab.scorers.judging import shows
from vist3a_lab.studies.alignment_study import UNTRAINED, score_variant, variant_weights

STATE = "alignment_study"


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

    def figures(self, seed: int, variant: str) -> dict[str, Any]:
        """One value per held-out prompt, by figure."""
        folder = self._folder("figures", seed, variant)
        return kept_figures(folder, lambda: self._measured(seed, variant), STATE, f"{variant} of seed {seed}")

    def _adapter(self, seed: int, variant: str) -> Path:
        """The aligned generator: another seed has other prompts, noise and initial weights, another variant another reward."""
        return kept_folder(
            self._folder("adapter", seed, variant),
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
        if variant != UNTRAINED:
            weights = RewardWeights(**variant_weights(self.align.weights(True), variant))
            # Whichever set the alignment takes its weights from, these are the ones that hold.
            changes |= {"rewards": weights, "rewards_from": "pictures"}
        return self.align.model_copy(update=changes)

    def _folder(self, part: str, seed: int, variant: str) -> Path:
        """Named by the variant's alignment, by what it is measured with, by the decoder, the clips and the weights."""
        weights = (self.networks.generator.source, self.networks.reconstruction.source, self.align.reward_scorer,
                   self.params.judge)  # fmt: skip
        # A variant trains on its own rewards and is measured by the whole one: both are in the name.
        return run_folder(
            self.checkpoints / STATE, f"{part}-{variant}-{seed}", self.params.model_dump_json(exclude={"seeds"}),
            self._alignment(seed, variant).model_dump_json(), self.align.rewards.model_dump_json(),
            self.networks.model_dump_json(), self.clip_index.to_json(),
            self.stitched_decoder, *(Path(source) for source in weights if Path(source).exists()),
        )  # fmt: skip

    def _measured(self, seed: int, variant: str) -> dict[str, Any]:
        networks, params, how = self.networks, self.params, self.align
        device = resolve_device(networks.device)
        decoder = load_decoder(networks, self.stitched_decoder)
        if not decoder.network.has_gaussians:
            raise ValueError(
                f"networks.reconstruction.family: {networks.reconstruction.family} has no Gaussian head, so that nothing can be "
                "rendered; allowed for the alignment study: a network with one"
            )
        judge = DualEncoder.from_pretrained(Path(params.judge), device)
        scorers = {
            "reward": load_reward_models(how, True, device, networks.known.rewards, watched=False).reward,
            "judge": weighted_terms({f"text_{kind}": 1.0 for kind in KINDS}, {"text": judge}, None),
        }
        own = params.heldout_seed + seed
        prompts = heldout_prompts(how, seed, own, params.prompts)
        adapter = None if variant == UNTRAINED else self._adapter(seed, variant)
        embed, negative = networks.embed(prompts, self.text_embeddings)
        generator = networks.load_generator("vae", "denoiser")
        if adapter is not None:
            load_adapter(networks, generator, adapter, self.stitched_decoder)
        config = replace(how.middle_sampling(), steps=params.denoising_steps)
        latents = sample_latents(generator, embed, prompts, config, own, device, negative)
        verdict = partial(shows, judge) if judge.attribute_heads else None
        return score_variant(generator, decoder, renderer_for(device), scorers, verdict, prompts, latents)

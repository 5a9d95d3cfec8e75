"""Decoder and adapter of one seed, made by the nodes of the chain and kept until the report is there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from vist3a.runtime.run_folder import run_folder
from vist3a_app.pipelines.align.nodes import align_generator
from vist3a_app.pipelines.align.params import AlignParams
from vist3a_app.pipelines.distill.nodes import distill_decoder
from vist3a_app.pipelines.distill.params import DistillParams
from vist3a_app.pipelines.evaluate.params import EvaluateParams
from vist3a_app.pipelines.networks import Networks
from vist3a_lab.pipelines.claims.params import ClaimsParams
from vist3a_lab.pipelines.kept_parts import kept_folder

STATE = "claims"


@dataclass(frozen=True)
class Study:
    """Everything that the figures depend on, and where unfinished ones are kept."""

    params: ClaimsParams
    distill: DistillParams
    align: AlignParams
    evaluate: EvaluateParams
    networks: Networks
    stitch_layer: Path
    clips: Path
    clip_index: pd.DataFrame
    checkpoints: Path
    text_embeddings: Path

    def folder(self, seed: int, part: str) -> Path:
        """Where a part of a seed is kept: named by all parameters but the list of seeds, by the clips, and by the weights."""
        groups = (self.distill, self.align, self.evaluate, self.networks)
        weights = (self.networks.generator.source, self.networks.reconstruction.source, self.align.reward_scorer,
                   self.evaluate.judge)  # fmt: skip
        return run_folder(
            self.checkpoints / STATE, f"{part}-{seed}", self.params.model_dump_json(exclude={"seeds"}),
            *(group.model_dump_json() for group in groups), self.clip_index.to_json(), self.stitch_layer,
            *(Path(source) for source in weights if Path(source).exists()),
        )  # fmt: skip

    def decoder(self, seed: int) -> Path:
        """The distilled decoder: another seed draws other clips in another order.

        As in the chain, the closed form is kept where distillation made it worse on ``distill.measured_clips`` held-out clips.
        """
        return kept_folder(
            self.folder(seed, "decoder"),
            lambda: distill_decoder(
                self.distillation(seed), self.networks, self.stitch_layer, self.clips, self.clip_index, self.checkpoints
            )[0],
        )

    def distillation(self, seed: int) -> DistillParams:
        """The chain's settings with another seed and number of steps."""
        match = self.distill.match
        if match is not None:
            match = replace(match, loop=replace(match.loop, steps=self.params.distillation_steps))
        return self.distill.model_copy(update={"seed": seed, "match": match})

    def adapter(self, seed: int) -> Path:
        """The aligned generator: another seed has other prompts, noise and initial weights."""
        loop = replace(self.align.loop, steps=self.params.alignment_steps)
        changed = self.align.model_copy(update={"seed": seed, "loop": loop})
        decoder = self.decoder(seed)
        return kept_folder(
            self.folder(seed, "adapter"),
            lambda: align_generator(
                changed, self.networks, decoder, self.clips, self.clip_index, self.checkpoints,
                self.text_embeddings,
            )[0],
        )  # fmt: skip

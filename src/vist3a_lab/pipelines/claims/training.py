"""Decoder and adapter of one seed, made by the nodes of the chain and kept until the report is there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from vist3a.records.clip_shape import ClipShape
from vist3a.runtime.device import resolve_device
from vist3a.runtime.run_folder import run_folder
from vist3a_app.pipelines.align.nodes import align_generator
from vist3a_app.pipelines.align.params import AlignParams
from vist3a_app.pipelines.distill.nodes import distill_decoder
from vist3a_app.pipelines.distill.params import DistillParams
from vist3a_app.pipelines.evaluate.params import EvaluateParams
from vist3a_app.pipelines.networks import Networks
from vist3a_lab.pipelines.claims.params import ClaimsParams
from vist3a_lab.pipelines.claims.shifted_clips import read_shifted, write_shifted
from vist3a_lab.pipelines.kept_parts import kept_folder

STATE = "claims"


def distillation_of(params: ClaimsParams, distill: DistillParams) -> DistillParams:
    """The chain's settings with the number of steps of the first round that the claims ask for."""
    match, steps = distill.match, params.distillation_steps
    if match is None or steps is None:
        return distill
    return distill.model_copy(update={"match": replace(match, loop=replace(match.loop, steps=steps))})


def rounds_of(distill: DistillParams) -> dict[str, int]:
    """Steps of both rounds of a distillation; 0: there is no such round."""
    return {
        "tokens": 0 if distill.match is None else distill.match.loop.steps,
        "outputs": 0 if distill.loop is None else distill.loop.steps,
    }


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
        return self._distilled(seed, "decoder", self.clips, self.clip_index)

    def decoder_there(self, seed: int) -> Path:
        """A decoder distilled, in the same way, on unlabeled clips of all shifted worlds: as many, in equal parts."""
        clips = kept_folder(self.folder(0, "shifted_clips"), lambda: self._film_shifted)
        return self._distilled(seed, "decoder_there", clips, read_shifted(clips))

    def _distilled(self, seed: int, part: str, clips: Path, index: pd.DataFrame) -> Path:
        return kept_folder(
            self.folder(seed, part),
            lambda: distill_decoder(
                self.distillation(seed), self.networks, self.stitch_layer, clips, index, self.checkpoints
            )[0],
        )

    def _film_shifted(self, folder: Path) -> None:
        """Scenes of a seed that nothing is judged on."""
        seed, shape = self.params.heldout_seed - 1, self.params.part(ClipShape)
        write_shifted(folder, self.clip_index, seed, self.distill.seed, shape, resolve_device(self.networks.device))

    def distillation(self, seed: int) -> DistillParams:
        """The chain's settings with another seed and, where asked for, another number of steps."""
        return distillation_of(self.params, self.distill).model_copy(update={"seed": seed})

    def adapter(self, seed: int) -> Path:
        """The aligned generator: another seed has other prompts, noise and initial weights."""
        loop, steps = self.align.loop, self.params.alignment_steps
        loop = loop if steps is None else replace(loop, steps=steps)
        changed = self.align.model_copy(update={"seed": seed, "loop": loop})
        decoder = self.decoder(seed)
        return kept_folder(
            self.folder(seed, "adapter"),
            lambda: align_generator(
                changed, self.networks, decoder, self.clips, self.clip_index, self.checkpoints,
                self.text_embeddings,
            )[0],
        )  # fmt: skip

"""Few steps against many: the same prompts and noise, looked at by a judge and by the original 3D network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vist3a.alignment.generation_scores import Verdict
from vist3a.alignment.rewards.consistency import Distance
from vist3a.alignment.rewards.text_image import TextImageScorer
from vist3a.generators.base import VideoGenerator
from vist3a.metrics.aggregate import bootstrap_interval, paired_difference
from vist3a.metrics.video import diversity, film_rows
from vist3a.networks.base import ReconstructionModel
from vist3a.records import Condition
from vist3a.records.condition import Embed
from vist3a.rendering.base import Renderer
from vist3a.sampling.sampling import SamplingConfig, sample_latents
from vist3a_app.pipelines.shorten.params import Comparison

Rows = dict[str, list[float]]


@dataclass(frozen=True)
class Looked:
    """Figures of one way to sample, a value per prompt (of ``diversity`` per prompt of those that it is measured on)."""

    rows: Rows
    latents: Sequence[Tensor]


@dataclass(frozen=True)
class Onlooker:
    """What all ways to sample are measured with.

    ``verdict`` says whether frames show a prompt (None: the judge cannot say), ``distance`` how much pictures differ (None: not
    measured).
    """

    params: Comparison
    original: ReconstructionModel
    render: Renderer
    judge: TextImageScorer
    verdict: Verdict | None
    distance: Distance | None
    prompts: Sequence[str]
    embed: Embed
    negative: Condition | None

    @torch.no_grad()
    def look(self, generator: VideoGenerator, sampling: SamplingConfig) -> Looked:
        """The generator as it is now, sampled so."""
        device = next(generator.denoiser.parameters()).device
        params = self.params

        def films(prompts: Sequence[str], seed: int) -> tuple[list[Tensor], list[Tensor]]:
            latents = sample_latents(
                generator, self.embed, prompts, sampling, seed, device, self.negative, params.batch
            )
            return latents, [self.original.fit(generator.decode(raw))[0] for raw in latents]

        latents, frames = films(self.prompts, params.seed)
        rows: Rows = {"judge": [], "accuracy": []}
        for prompt, film in zip(self.prompts, frames, strict=True):
            text = self.judge.embed_text([prompt])
            rows["judge"].append(float(self.judge.score(film, text.repeat_interleave(len(film), 0)).mean()))
            if self.verdict is not None:
                rows["accuracy"].append(float(self.verdict(prompt, film)))
        rows |= film_rows(self.original, self.render, frames)
        few = self.prompts[: params.diversity_prompts]
        if few and self.distance is not None:
            draws = [frames[: len(few)], *(films(few, params.seed + other)[1] for other in range(1, params.noises))]
            rows["diversity"] = [diversity(same, self.distance) for same in zip(*draws, strict=True)]
        return Looked({name: values for name, values in rows.items() if values}, latents)


def compared(original: Looked, others: Mapping[str, Looked], seed: int) -> dict[str, Any]:
    """Means of the original with intervals (95 %, bootstrap), and paired differences of every other way to sample.

    ``latent_distance`` is the root mean square of the difference of the latents over that of the original's, prompt by prompt.
    """
    report: dict[str, Any] = {"original": {name: _mean(values, seed) for name, values in original.rows.items()}}
    for way, looked in others.items():
        away = [
            float((mine - theirs).square().mean().sqrt() / theirs.square().mean().sqrt())
            for mine, theirs in zip(looked.latents, original.latents, strict=True)
        ]
        report[way] = {"latent_distance": _mean(away, seed)}
        report[way] |= {
            name: paired_difference(values, looked.rows[name], seed) for name, values in original.rows.items()
        }
    return report


def as_lines(report: Mapping[str, Any]) -> list[str]:
    """The report as a table of text: a line per way to sample, means, and differences to the original in brackets."""
    names = list(report["original"])
    lines = ["way to sample".ljust(24) + "".join(name.rjust(26) for name in ("latent_distance", *names))]
    for way, figures in report.items():
        cells = [f"{figures['latent_distance']['mean']:.3f}" if way != "original" else "0"]
        for name in names:
            one = figures[name]
            cells.append(
                f"{one['mean']:.3f}" if way == "original"
                else f"{one['after']:.3f} ({one['difference_low']:+.3f} to {one['difference_high']:+.3f})"
            )  # fmt: skip
        lines.append(way.ljust(24) + "".join(cell.rjust(26) for cell in cells))
    return lines


def compare_steps(
    generator: VideoGenerator,
    onlooker: Onlooker,
    sampling: Callable[[int, float], SamplingConfig],
    original: Looked,
    counts: Sequence[int],
) -> dict[str, Any]:
    """A shortened generator in each of ``counts`` steps against ``original``."""
    guidance = generator.only_guidance
    assert guidance is not None
    ways = {f"{count} steps": onlooker.look(generator, sampling(count, guidance)) for count in counts}
    return compared(original, ways, onlooker.params.seed)


def _mean(values: Sequence[float], seed: int) -> dict[str, float]:
    low, high = bootstrap_interval(values, seed)
    return {"mean": sum(values) / len(values), "low": low, "high": high}

"""What an alignment is asked to do."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge

from vist3a.records.clip_shape import ClipShape
from vist3a.runtime.bounds import Count, NotNegative, Positive, PositiveFloat
from vist3a.runtime.loop import LoopConfig
from vist3a.sampling.sampling import SamplingConfig

Variant = Literal["drtune", "last", "released", "all"]
"""Denoising steps that carry gradient: K at random (VIST3A algorithm 1, after DRTune), the last one alone, K at random and the
last one (the code that VIST3A's authors released), or all of them and the states between: the gradient of the whole rollout,
which a generator of few steps can afford."""
Regularizer = Literal["generative", "distillation"]
"""What holds the generator while it is rewarded: its own training loss on clips (VIST3A eq. 3), or its distance, on the states of
its own rollouts, to what it predicted before it was aligned."""


@dataclass(frozen=True, kw_only=True)
class AlignSettings(ClipShape):
    """Sizes of a step, its draws and its weights.

    Attributes:
        seed: Draws prompts' noise, denoising steps, views and clips, by step.
        prompts_per_step: Rollouts per step; of several processes each takes its share.
        noises_per_prompt: So many of these rollouts have one prompt, each from its own noise.
        clips_per_step: Clips of the generative loss per step.
        clips_at_once: Of these a graph holds so many, one after the other; None: all. Less memory, more time.
        variant: Denoising steps that carry gradient: ``gradient_steps`` random ones (``drtune``), the last one alone (``last``),
            as many random ones and the last (``released``), or the whole rollout, nothing cut off (``all``).
        denoising_steps: Steps of a rollout, or a range [low, high] that every step draws from.
        gradient_steps: K of the paper.
        gradient_batch: Of the steps with gradient so many are run at once: less time, more memory.
        guidance: Guidance of a rollout, or a range [low, high] that every step draws from.
        flow_shift: Time shift of flow-matching schedules; None: the generator's own.
        scored_views: Views per sample that are rendered and scored.
        decoded_views: Other views, so many, are scored as decoded frames; None: the same ones.
        views_at_once: Of renderings and scored images a graph holds so many; the others are rendered and scored again in the
            backward pass. None: all.
        generative_weight: Weight of the regularizer.
        regularizer: The generator's own training loss on clips (``generative``), or its distance to what it was
            (``distillation``), for generators that were shortened: they have no training loss on clips.
        frames_apart: The video decoder is differentiated after everything else, where the generator can four frames at a time:
            it runs twice, and its graph is never beside that of the 3D. Less memory, the same gradient.
        term_gradients_every: Steps between norms of each reward term's own gradient; 0: never.
        motion_bar: Share of the motion of curated clips that the aligned generator is to keep: a watch over films holds it to
            that, and evaluation says whether it does.
        loop: The training.

    Raises:
        ValueError: A range is none, ``noises_per_prompt`` does not divide ``prompts_per_step``, a rollout is too short for its
            steps with gradient, or ``frames_apart`` meets ``term_gradients_every``.
    """

    seed: int
    prompts_per_step: Positive
    noises_per_prompt: Positive = 1
    clips_per_step: Positive
    clips_at_once: Positive | None = None
    variant: Variant = "drtune"
    denoising_steps: int | tuple[int, int]
    gradient_steps: Positive
    gradient_batch: Positive = 1
    guidance: float | tuple[float, float]
    flow_shift: PositiveFloat | None = None
    scored_views: Positive
    decoded_views: Positive | None = None
    views_at_once: Positive | None = None
    generative_weight: NotNegative
    regularizer: Regularizer = "generative"
    frames_apart: bool = False
    term_gradients_every: Count = 0
    motion_bar: PositiveFloat = 0.85
    loop: LoopConfig

    def __post_init__(self) -> None:
        check_range("denoising_steps", self.denoising_steps)
        check_range("guidance", self.guidance)
        if self.prompts_per_step % self.noises_per_prompt:
            raise ValueError(
                f"align.noises_per_prompt: {self.noises_per_prompt}, which does not divide align.prompts_per_step "
                f"{self.prompts_per_step}; allowed: a divisor of it"
            )
        if self.frames_apart and self.term_gradients_every:
            raise ValueError(
                f"align.term_gradients_every: {self.term_gradients_every}, but with align.frames_apart no graph leads from a "
                "term through its frames; allowed: 0, or align.frames_apart false"
            )
        steps = self.denoising_steps
        fewest = steps[0] if isinstance(steps, tuple) else steps
        needed = self.gradient_steps + (self.variant == "released")
        if self.variant in ("drtune", "released") and needed > fewest:
            raise ValueError(
                f"align.gradient_steps: {self.gradient_steps} with variant {self.variant} needs {needed} denoising steps, and "
                f"align.denoising_steps gives {fewest}; allowed: fewer gradient steps or more denoising steps"
            )

    def middle_sampling(self) -> SamplingConfig:
        """Rollouts that stand for all: at the middle of the ranges."""
        steps, guidance = self.denoising_steps, self.guidance
        return SamplingConfig(
            steps=steps if isinstance(steps, int) else sum(steps) // 2,
            guidance=sum(guidance) / 2 if isinstance(guidance, tuple) else guidance,
            frames=self.frames,
            height=self.height,
            width=self.width,
            flow_shift=self.flow_shift,
        )


@dataclass(frozen=True)
class WatchConfig:
    """How often a generator is looked at while it is trained.

    Attributes:
        judge_every: Steps between two judgements; 0: never.
        previews_every: Steps between two pictures; 0: never.
        prompts: The first of the prompts, so many, are looked at, with fixed noise.
        drift_window: Judgements over which the reward must rise and the judge fall for a warning. Of fewer than four values no
            order is unlikely enough.
        films_every: Steps between two looks at films by the original 3D network, which is loaded for them; 0: never. The end is
            looked at, too, and the last adapter that kept the motion (``motion_bar``) is what alignment returns.
        films_clips: Curated clips, so many, whose motion is measured once.
    """

    judge_every: Count = 0
    previews_every: Count = 0
    prompts: Positive = 2
    drift_window: Annotated[int, Ge(4)] = 5
    films_every: Count = 0
    films_clips: Positive = 32


def check_range(name: Literal["denoising_steps", "guidance"], value: Any) -> None:
    """ValueError in one sentence for what is neither a number from 1 on nor a range of two such numbers."""
    kind, types = ("a whole number", int) if name == "denoising_steps" else ("a number", int | float)
    is_range = isinstance(value, list | tuple)
    ends = value if is_range else [value]
    # True is an int to Python, and no number to anybody else.
    numbers = all(isinstance(end, types) and not isinstance(end, bool) and 1 <= end < math.inf for end in ends)
    if not numbers or (is_range and (len(ends) != 2 or ends[0] > ends[1])):
        raise ValueError(
            f"align.{name}: {value!r}; allowed: {kind} from 1 on, or a range [low, high] of two such numbers"
        )

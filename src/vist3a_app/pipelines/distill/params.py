"""Parameters of the distill pipeline (top key ``distill``)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from vist3a.distillation.distill import DistillSampling
from vist3a.distillation.sensitivity import OUTPUTS, Output
from vist3a_app.pipelines.loop import Loop
from vist3a_app.pipelines.strict import Strict

Change = Annotated[float, Field(ge=0, le=1)]


class Weights(Strict):
    """Weights of the distillation terms (see ``training.distill_loss``)."""

    pose: float = 1.0
    depth: float = 1.0
    depth_gradient: float = 5e-3
    confidence: float = 1e-2
    points: float = 0.0
    points_gradient: float = 0.0
    points_confidence: float = 0.0
    gaussians: float = 1.0
    gaussian_confidence: float = 1e-2
    scales: float = 10.0
    anchor_features: float = 0.1
    extrinsics: float = 0.0
    intrinsics: float = 0.0
    features: float = 0.0


class Match(Strict):
    """The first round, on tokens at one point (see ``training.match_tokens``)."""

    point: str
    batch: int = Field(gt=0)
    inner: tuple[str, ...] = ()
    inner_weight: float = Field(0.5, ge=0)
    early: float = Field(0.0, ge=0, lt=1)
    mirror: bool = True
    views: int | None = Field(None, gt=0)
    sensitivity: float = Field(0.0, ge=0, lt=1)
    sensitivity_clips: int = Field(8, gt=0)
    sensitive: Annotated[tuple[Output, ...], Field(min_length=1)] = OUTPUTS
    loop: Loop


class DistillParams(Strict):
    """``match`` is the first round, ``loop`` the second, on outputs, to which all other keys belong; ``null`` leaves one out.

    ``tuning`` is the whole tail or low-rank adapters; ``views`` are the clip lengths drawn per step.

    ``gradient_checkpointing`` recomputes blocks in the backward pass: less memory, more time.

    Inner states at the stitch points ``features`` are compared in every step, the heads' outputs in every ``heads_every``-th;
    ``mirror`` also shows clips flipped and played backwards; ``color_jitter`` is the largest change of brightness, contrast,
    saturation and hue, drawn once per clip (null: none); ``latents`` are the posterior's mode, or samples.

    At most ``measured_clips`` held-out clips are measured before and after, ``measured_batch`` of them at once.
    """

    seed: int
    tuning: Literal["full", "lora"]
    lora_rank: int = Field(64, gt=0)
    lora_alpha: float = Field(32, gt=0)
    match: Match | None = None
    batch: int = Field(gt=0)
    views: Annotated[tuple[int, ...], Field(min_length=1)]
    features: tuple[str, ...] = ()
    heads_every: int = Field(1, gt=0)
    mirror: bool = False
    color_jitter: tuple[Change, Change, Change, Annotated[float, Field(ge=0, le=0.5)]] | None = None
    latents: Literal["mode", "sample"] = "mode"
    weights: Weights
    loop: Loop | None
    gradient_checkpointing: bool = False
    measured_clips: int = Field(gt=0)
    measured_batch: int = Field(1, gt=0)

    def sampling(self) -> DistillSampling:
        """What a step of the second round sees."""
        return DistillSampling(
            self.batch,
            self.views,
            self.features,
            self.heads_every,
            self.mirror,
            self.color_jitter,
            self.latents == "sample",
        )

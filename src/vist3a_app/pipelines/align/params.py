"""Parameters of the align pipeline (top key ``align``)."""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import ConfigDict, Field, field_validator, model_validator

from vist3a.alignment.align_settings import AlignSettings, Variant, WatchConfig, check_range
from vist3a.alignment.rewards.terms import COLOR, DIVERSITY, KINDS, L1, MOTION, PERCEPTUAL, is_term, renders, term_names
from vist3a_app.pipelines.networks import Dtype, Template
from vist3a_app.pipelines.strict import Place, Strict


class RewardWeights(Strict):
    """Weights of the reward terms (VIST3A B.2); null: the term is not computed, 0: computed and logged only.

    Text-image score of ``reward_scorer`` on decoded and on rendered views, and their consistency; agreement of the 3D with itself
    (see :mod:`vist3a.alignment.rewards.geometry`). For every name in ``reward_models`` also ``<name>_decoded`` and
    ``<name>_rendered``. And any reward of the registry, by its name or place.
    """

    # Terms of further models and of the registry have names that no class can list.
    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, float | None]

    text_decoded: float | None = None
    text_rendered: float | None = None
    consistency_l1: float | None = None
    consistency_perceptual: float | None = None
    consistency_color: float | None = None
    reprojection: float | None = None
    pointmap_camera: float | None = None
    camera_smoothness: float | None = None
    camera_motion: float | None = None
    diversity: float | None = None

    def given(self) -> dict[str, float]:
        """Weights by term, without those that are null."""
        return {name: weight for name, weight in self.model_dump().items() if weight is not None}


class Watching(Strict, WatchConfig):
    """The generator is looked at while it is trained; pictures go into the record of the run.

    ``judge`` is a folder, or an entry under rewards of weights.yml, which no term may use.
    """

    judge: str


class AlignParams(Strict, AlignSettings):
    """The settings of alignment, and what is loaded for it: prompts, reward models, networks in their numeric types, adapters.

    ``prompts_file`` (one prompt per line) replaces the prompts of the generated ``world``.
    ``prompt_templates``: each prompt of a rollout is asked in one of them, drawn anew each time (none: the generator's own);
    ``negative_prompt`` and ``max_text_tokens`` (null: the generator's) hold in training alone.
    ``vae_dtype`` is the numeric type of the video autoencoder (null: that of the generator).
    ``gradient_checkpointing`` recomputes blocks of all networks in the backward pass: less memory, more time; ``decoders``:
    not those of the denoiser.
    ``compile``: the blocks of denoiser, Wan's video decoder, 3D network and published scorers are compiled at their first use.
    ``shard``: of several processes each holds a part of the denoiser's frozen weights (FSDP2); one process holds them all.
    ``rewards_from``: ``rewards``, most of which read pictures, or ``geometry_rewards``, which render nothing and decode no frame
    unless a term reads decoded frames; null: pictures where the 3D network has Gaussians. ``reward_scorer`` is a folder or
    an entry under rewards of weights.yml, ``reward_models`` names further ones (null: none); ``perceptual`` is the entry of
    LPIPS (null: distance in the features of ``reward_scorer``). ``motion`` is the path of the camera that ``camera_motion`` asks
    for, in median depths of the scene, ``diversity`` the distance between rollouts of one prompt that the term of this name asks
    for. Published scorers compute in ``reward_dtype``.
    """

    prompts_file: Place | None = None
    world: str = "procedural"
    prompts: int = Field(gt=0)
    reward_scorer: str
    rewards_from: Literal["pictures", "geometry"] | None = None
    rewards: RewardWeights
    geometry_rewards: RewardWeights = RewardWeights(reprojection=1.0, camera_smoothness=0.1)
    reward_models: dict[str, str | None] = Field(default_factory=dict)
    perceptual: str | None = None
    motion: float | None = Field(None, gt=0)
    diversity: float | None = Field(None, gt=0)
    reward_dtype: Dtype = "float32"
    watch: Watching
    prompt_templates: tuple[Template, ...] = ()
    negative_prompt: str | None = None
    max_text_tokens: int | None = Field(None, gt=0)
    gradient_checkpointing: Literal[False, True, "decoders"] = False
    compile: bool = False
    shard: bool = False
    vae_dtype: Dtype | None = None
    lora_rank: int = Field(gt=0)
    lora_alpha: float = Field(gt=0)
    lora_targets: tuple[Literal["to_q", "to_k", "to_v", "to_out.0"], ...]

    @model_validator(mode="after")
    def _terms_exist(self) -> AlignParams:
        scorers = ("text", *self.further_models())
        allowed = term_names(scorers)
        for key in ("rewards", "geometry_rewards"):
            weights = getattr(self, key).given()
            if unknown := [name for name in weights if not is_term(name, scorers)]:
                raise ValueError(f"align.{key}: no term {', '.join(unknown)}; allowed: {', '.join(allowed)}")
            if not weights:
                raise ValueError(f"align.{key}: every weight is null; allowed: at least one of {', '.join(allowed)}")
        if self.decoded_views is not None and (
            pairs := [name for name in (L1, PERCEPTUAL, COLOR) if name in self.rewards.given()]
        ):
            raise ValueError(
                f"align.decoded_views: {self.decoded_views}, but {' and '.join(pairs)} compares decoded and rendered views one "
                "by one; allowed: null, or null weights of these terms"
            )
        if rendered := [name for name in self.geometry_rewards.given() if renders(name)]:
            raise ValueError(
                f"align.geometry_rewards: {', '.join(rendered)} needs renderings, which are not made here; "
                f"allowed: {', '.join(name for name in allowed if not renders(name))}"
            )
        terms = self.rewards.given() | self.geometry_rewards.given()
        if MOTION in terms and self.motion is None:
            raise ValueError(
                f"align.motion: null, but {MOTION} has a weight; allowed: the camera's path in median depths"
            )
        if DIVERSITY in terms and (self.diversity is None or self.noises_per_prompt < 2):
            raise ValueError(
                f"align.diversity: {self.diversity}, with align.noises_per_prompt {self.noises_per_prompt}, but {DIVERSITY} "
                "has a weight; allowed: a distance above 0 between at least 2 rollouts of a prompt"
            )
        sources = {"text": self.reward_scorer} | self.further_models()
        # A scorer that is rewarded would, as the judge, speak about itself.
        optimised = {source for name, source in sources.items() if any(f"{name}_{kind}" in terms for kind in KINDS)}
        if self.watch.judge_every and self.watch.judge in optimised:
            raise ValueError(
                f"align.watch.judge: {self.watch.judge} is part of the reward; allowed: a scorer that is not optimised, or "
                "align.watch.judge_every 0"
            )
        return self

    # Before the types are read: pydantic's own sentences about unions name every branch.
    @field_validator("variant", mode="before")
    @classmethod
    def _is_known(cls, value: Any) -> Any:
        if value not in get_args(Variant):
            raise ValueError(f"align.variant: {value!r}; allowed: {', '.join(get_args(Variant))}")
        return value

    @field_validator("denoising_steps", mode="before")
    @classmethod
    def _steps_may_be_a_range(cls, value: Any) -> Any:
        check_range("denoising_steps", value)
        return value

    @field_validator("guidance", mode="before")
    @classmethod
    def _guidance_may_be_a_range(cls, value: Any) -> Any:
        check_range("guidance", value)
        return value

    def further_models(self) -> dict[str, str]:
        """Reward models beside ``reward_scorer``, by name."""
        return {name: source for name, source in self.reward_models.items() if source is not None}

    def weights(self, has_gaussians: bool) -> dict[str, float]:
        """The weights that hold for the 3D network; ValueError where it has no Gaussians and pictures of them are asked for."""
        source = self.rewards_from or ("pictures" if has_gaussians else "geometry")
        if source == "geometry":
            return self.geometry_rewards.given()
        weights = self.rewards.given()
        if not has_gaussians and (rendered := [name for name in weights if renders(name)]):
            raise ValueError(
                f"align.rewards_from: pictures, but {', '.join(rendered)} needs renderings, and the 3D network has no Gaussians; "
                "allowed: geometry, null, or null weights of these terms"
            )
        return weights

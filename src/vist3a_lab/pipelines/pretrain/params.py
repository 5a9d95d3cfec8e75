"""Parameters of the pretrain pipeline (top key ``pretrain``)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from vist3a.runtime.loop import LoopConfig
from vist3a_app.pipelines.strict import Strict
from vist3a_lab.pretraining.bank_size import BankSize
from vist3a_lab.pretraining.view_schedule import ViewSchedule
from vist3a_lab.procedural.unsteady import UnsteadyConfig


class Vae(Strict):
    """Video autoencoder: ``architecture`` goes to diffusers' AutoencoderKLWan.

    ``start`` is a folder of a generator whose autoencoder, of this architecture, is the one to begin from. ``clips`` is what
    happens in them (null: nothing). ``trained``: the decoder alone leaves encoder and latents of ``start`` as they are, and with
    them every denoiser and every stitched decoder that knows these latents.
    """

    seed: int
    start: str | None = None
    trained: Literal["all", "decoder"] = "all"
    architecture: dict[str, Any]
    bank: BankSize
    clips: UnsteadyConfig | None = None
    loop: LoopConfig
    batch: int = Field(gt=0)

    @model_validator(mode="after")
    def _begin_somewhere(self) -> Vae:
        if self.trained == "decoder" and self.start is None:
            raise ValueError(
                "trained: decoder needs a start, as an untrained encoder says nothing; allowed: a folder as start"
            )
        return self


class Reconstruction(Strict):
    """Reconstruction network: ``architecture`` goes to AnySplatConfig.

    ``start`` is a folder with weights of this architecture to begin from, instead of random ones.
    """

    seed: int
    start: str | None = None
    architecture: dict[str, Any]
    bank: BankSize
    loop: LoopConfig
    watch: tuple[str, ...]
    schedule: ViewSchedule


class Scorer(Strict):
    """Text-image scorer: ``architecture`` goes to DualEncoderConfig."""

    seed: int
    architecture: dict[str, Any]
    bank: BankSize
    loop: LoopConfig
    batch: int = Field(gt=0)


class Denoiser(Strict):
    """Text encoder and denoiser: diffusers' WanTransformer3DModel and transformers' UMT5.

    Trained on ``scenes`` of the world's mixture and ``pairs`` with two objects each; ``relation_weight`` is that of the
    text encoder's supervision on stated relations. ``start`` is a generator folder of this architecture to begin from,
    instead of random weights. ``clips`` is what happens in its clips (null: nothing).
    """

    seed: int
    start: str | None = None
    transformer: dict[str, Any]
    text_encoder: dict[str, Any]
    max_text_tokens: int = Field(gt=0)
    shift: float = Field(gt=0)
    caption_dropout: float = Field(ge=0, lt=1)
    scenes: int = Field(gt=0)
    pairs: int = Field(ge=0)
    captions: int = Field(gt=0)
    relation_weight: float = Field(ge=0)
    clips: UnsteadyConfig | None = None
    loop: LoopConfig
    batch: int = Field(gt=0)


class PretrainParams(Strict):
    """Everything the pretrain pipeline needs. ``max_seconds`` stops each training after about that time, to go on next time."""

    device: str
    frames: int = Field(gt=0)
    size: int = Field(gt=0)
    compile: Literal["auto"] | bool = "auto"
    max_seconds: float | None = None
    storage: Literal["float16", "bfloat16", "float32"] = "float16"
    vae: Vae
    reconstruction: Reconstruction
    reward_scorer: Scorer
    judge: Scorer
    denoiser: Denoiser

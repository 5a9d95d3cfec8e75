"""AnyFlow (Gu et al., 2026): Wan 2.1 whose denoiser is told the end of a step beside its start, on the diffusers classes.

It samples in any number of steps, its guidance inside, as what :mod:`vist3a.shortening` makes of other generators.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from vist3a.generators.published import Part, PublishedSizes
from vist3a.generators.step_length import TOLD
from vist3a.generators.wan import PUBLISHED as WAN
from vist3a.generators.wan import WanGenerator
from vist3a.records import Condition

PUBLISHED: PublishedSizes = MappingProxyType(
    {
        "anyflow-1.3b": {
            **WAN["wan-1.3b"],
            "transformer": Part(
                "diffusers",
                "AnyFlowTransformer3DModel",
                {"num_attention_heads": 12, "ffn_dim": 8960, "num_layers": 30, "text_dim": 4096},
            ),
            "scheduler": Part("diffusers", "FlowMapEulerDiscreteScheduler", {"shift": 5.0}),
        }
    }
)


class AnyFlowGenerator(WanGenerator):
    """Wan's autoencoder and text encoder; a denoiser that predicts the mean velocity over a step (frames before channels)."""

    CLASSES: ClassVar[Mapping[str, str | tuple[str, ...]]] = {
        **WanGenerator.CLASSES,
        "transformer": "AnyFlowTransformer3DModel",
        "scheduler": ("FlowMapEulerDiscreteScheduler",),
    }
    PIPELINE = "AnyFlowPipeline"
    # It knows the lengths of steps already.
    TIME_EMBEDDER = ""
    published: ClassVar[PublishedSizes] = PUBLISHED
    only_guidance = 1.0

    def prediction(
        self,
        noisy: Float[Tensor, "batch channels times rows columns"],
        timesteps: Float[Tensor, " batch"],
        condition: Condition,
    ) -> Float[Tensor, "batch channels times rows columns"]:
        """See :meth:`VideoGenerator.prediction`: the mean velocity over the step that was told, else the velocity."""
        dtype, (batch, _, frames) = self.denoiser.dtype, noisy.shape[:3]
        told = TOLD.get()
        length = timesteps.new_zeros(1) if told is None else told.to(timesteps).reshape(-1)
        ends = timesteps - length.repeat(batch // len(length))
        answer = self.denoiser(
            hidden_states=noisy.transpose(1, 2).to(dtype),
            # Frames may have times of their own; here they share one.
            timestep=timesteps[:, None].expand(batch, frames),
            r_timestep=ends[:, None].expand(batch, frames),
            encoder_hidden_states=condition["text"].to(dtype),
            return_dict=False,
        )[0]
        return answer.transpose(1, 2).to(noisy.dtype)

    @contextmanager
    def denoising(
        self, condition: Condition, negative: Condition | None, guidance: float, batch: int
    ) -> Iterator[Callable[[Tensor, Tensor], Tensor]]:
        """See :meth:`VideoGenerator.denoising`."""
        # Wan's way is for the layers of its own denoiser.
        with super(WanGenerator, self).denoising(condition, negative, guidance, batch) as predict:
            yield predict

    def accelerate(self, mode: str | None = None) -> None:
        """See :meth:`VideoGenerator.accelerate`."""
        super(WanGenerator, self).accelerate(mode)

"""Denoisers that are told how long a step is, beside where it starts: they predict the mean velocity over the step.

Such a mean velocity u(x_t, t, r) takes a flow from time t to r < t in one step, x_r = x_t - (t - r) u(x_t, t, r): it is a flow
map (Boffi et al., 2024; MeanFlow, Geng et al., 2025; AnyFlow, Gu et al., 2026). Of length 0 it is the velocity itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

TOLD: ContextVar[Tensor | None] = ContextVar("step_length", default=None)
"""Lengths in timesteps that :meth:`StepLengths.stepping` tells, one or one for each sample; None: 0. Every thread has its own."""


class StepLengthEmbedding(nn.Module):
    """A time embedder and, added to what it says, an embedding of the length of the step: zero before it is trained.

    Its inner weights are drawn from ``seed``. It takes the place of diffusers' ``TimestepEmbedding`` in a denoiser, which sees
    the embedded time alone; the length comes by :meth:`StepLengths.stepping`.
    """

    def __init__(self, time: Any, seed: int) -> None:
        from diffusers.models.embeddings import TimestepEmbedding

        super().__init__()
        self.time = time
        weight = time.linear_1.weight
        with torch.random.fork_rng(devices=[]):  # layers draw from the global generator
            torch.manual_seed(seed)
            length = TimestepEmbedding(time.linear_1.in_features, time.linear_2.out_features)
        # Wide whatever the denoiser's type is: steps of 1e-4 would not move weights of bfloat16.
        self.length = length.to(weight.device, torch.promote_types(weight.dtype, torch.float32))
        nn.init.zeros_(self.length.linear_2.weight)
        nn.init.zeros_(self.length.linear_2.bias)
        self.active = True

    def forward(self, sample: Tensor, *more: Any) -> Tensor:
        """The embedding of the time, and of the length that was told."""
        from diffusers.models.embeddings import get_timestep_embedding

        at: Tensor = self.time(sample, *more)
        if not self.active:
            return at
        weight = self.length.linear_1.weight
        told = TOLD.get()
        told = weight.new_zeros(1) if told is None else told.to(weight).reshape(-1)
        # All samples come once for every condition of a guided prediction.
        told = told.repeat(len(sample) // len(told))
        features = get_timestep_embedding(told, weight.shape[1], flip_sin_to_cos=True, downscale_freq_shift=0)
        return at + self.length(features.to(weight)).to(at.dtype)


class StepLengths:
    """What a generator can be told about its steps: the part of the contract that shortened generators need."""

    TIME_EMBEDDER: ClassVar[str] = ""
    """Place of the ``TimestepEmbedding`` of the time in the denoiser; empty: the generator cannot learn the lengths of steps."""
    only_guidance: float | None = None
    """The strength of guidance that the denoiser was shortened for, which it has inside itself; None: any may be asked for."""
    denoiser: Any

    def learn_lengths(self, seed: int = 0) -> StepLengthEmbedding:
        """Give the denoiser an embedding of the length of a step, drawn from ``seed``, or return the one that it has.

        Raises:
            ValueError: The generator's class does not say where the denoiser embeds the time.
        """
        if not self.TIME_EMBEDDER:
            raise ValueError(
                f"{type(self).__name__} cannot be shortened: it says no TIME_EMBEDDER, which only denoisers that follow a flow "
                "from noise to data have; allowed: wan, hunyuan_video, or a generator of your own that says it"
            )
        parent, _, name = self.TIME_EMBEDDER.rpartition(".")
        owner = self.denoiser.get_submodule(parent)
        embedder = getattr(owner, name)
        if not isinstance(embedder, StepLengthEmbedding):
            embedder = StepLengthEmbedding(embedder, seed)
            setattr(owner, name, embedder)
        return embedder

    @contextmanager
    def stepping(self, length: Tensor) -> Iterator[None]:
        """Within, predictions are mean velocities over steps of ``length`` timesteps (one, or one for each sample).

        Generators that were not shortened predict the velocity where a step starts, as ever.
        """
        before = TOLD.set(length)
        try:
            yield
        finally:
            TOLD.reset(before)

    @contextmanager
    def without_lengths(self) -> Iterator[None]:
        """Within, the denoiser embeds the time as it was published."""
        embedder = self._length_embedder()
        if embedder is None:
            yield
            return
        before, embedder.active = embedder.active, False
        try:
            yield
        finally:
            embedder.active = before

    def check_guidance(self, guidance: float) -> None:
        """ValueError for a strength that a shortened denoiser does not have inside itself."""
        if self.only_guidance is not None and guidance != self.only_guidance:
            raise ValueError(
                f"guidance {guidance:g}, but this generator was shortened with its guidance inside; allowed: "
                f"{self.only_guidance:g}"
            )

    def _length_embedder(self) -> StepLengthEmbedding | None:
        if not self.TIME_EMBEDDER:
            return None
        found = self.denoiser.get_submodule(self.TIME_EMBEDDER)
        return found if isinstance(found, StepLengthEmbedding) else None

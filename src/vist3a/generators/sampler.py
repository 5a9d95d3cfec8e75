"""One way to drive all schedulers of the video generators: start, input, step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

# Keys by which schedulers call the time shift of flow matching.
SHIFT_KEYS = ("shift", "flow_shift")


class Sampler:
    """One pass of a diffusers scheduler from noise to latents in ``steps`` steps.

    ``flow_shift`` replaces the shift of the scheduler's own configuration; ``sigmas`` replaces its noise levels before
    the shift (both None: as configured). ``mu`` is the shift of schedulers that want it told (see :func:`time_shift`).

    A scheduler that is stepped in another way gets a subclass of this, which its generator's ``sampler`` gives.
    """

    def __init__(
        self,
        scheduler: Any,
        steps: int,
        device: torch.device | str = "cpu",
        flow_shift: float | None = None,
        sigmas: Sequence[float] | None = None,
        mu: float | None = None,
    ) -> None:
        changes: dict[str, Any] = {}
        if flow_shift is not None:
            keys = [key for key in SHIFT_KEYS if key in scheduler.config]
            if not keys:
                raise ValueError(
                    f"flow_shift: {flow_shift}, but {type(scheduler).__name__} has no shift; allowed: null"
                )
            changes = dict.fromkeys(keys, flow_shift)
            # A fixed shift and one that follows the number of tokens exclude each other.
            if scheduler.config.get("use_dynamic_shifting"):
                changes["use_dynamic_shifting"] = False
        # A copy, as schedulers keep the state of a pass on themselves.
        self.scheduler = type(scheduler).from_config(scheduler.config, **changes)
        told = {} if mu is None else {"mu": mu}
        if sigmas is None:
            self.scheduler.set_timesteps(steps, device=device, **told)
        else:
            self.scheduler.set_timesteps(sigmas=list(sigmas), device=device, **told)
        if hasattr(
            self.scheduler, "set_begin_index"
        ):  # else the first step looks itself up, which waits for the device
            self.scheduler.set_begin_index(0)
        self.timesteps: Float[Tensor, " steps"] = self.scheduler.timesteps
        self._clean: Tensor | None = None

    @property
    def lengths(self) -> Float[Tensor, " steps"]:
        """How far every step goes, in timesteps; the last one to 0."""
        # Some schedulers count in whole timesteps.
        starts = self.timesteps.float()
        return starts - torch.cat([starts[1:], starts.new_zeros(1)])

    @property
    def stochastic(self) -> bool:
        """Whether every step adds fresh noise."""
        return type(self.scheduler).__name__ == "CogVideoXDPMScheduler"

    def start(
        self, noise: Float[Tensor, "batch channels times rows columns"]
    ) -> Float[Tensor, "batch channels times rows columns"]:
        """Unit noise as the scheduler wants it."""
        return noise * getattr(self.scheduler, "init_noise_sigma", 1.0)

    def model_input(
        self, z: Float[Tensor, "batch channels times rows columns"], k: int
    ) -> Float[Tensor, "batch channels times rows columns"]:
        """What the denoiser sees of the state ``z`` before step ``k``."""
        if not hasattr(self.scheduler, "scale_model_input"):
            return z
        scaled: Tensor = self.scheduler.scale_model_input(z, self.timesteps[k])
        return scaled

    def step(
        self,
        prediction: Float[Tensor, "batch channels times rows columns"],
        k: int,
        z: Float[Tensor, "batch channels times rows columns"],
        generators: Sequence[torch.Generator] | None = None,
    ) -> Float[Tensor, "batch channels times rows columns"]:
        """The state after step ``k``; steps must come in order.

        ``generators``: one per sample, read by stochastic schedulers only, which refuse to go without.
        """
        timestep = self.timesteps[k]
        if not self.stochastic:
            after: Tensor = self.scheduler.step(prediction, timestep, z, return_dict=False)[0]
            return after
        if generators is None:
            raise ValueError(f"{type(self.scheduler).__name__} adds noise in every step: pass one generator per sample")
        # This scheduler's multistep formula reads the timestep before and its last estimate of the clean latents.
        before = self.timesteps[k - 1] if k else None
        # The only stochastic sampler is CogVideoX's, whose public noise has time before the channels.
        after, self._clean = self.scheduler.step(
            prediction.transpose(1, 2),
            self._clean,
            timestep,
            before,
            z.transpose(1, 2),
            generator=list(generators),
            return_dict=False,
        )
        return after.transpose(1, 2)


def time_shift(scheduler: Any, tokens: int) -> float:
    """The shift ``mu`` of latents of so many tokens: on the line through the two points of the scheduler's configuration."""
    config = scheduler.config
    low, high = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
    least, most = config.get("base_shift", 0.5), config.get("max_shift", 1.15)
    slope = (most - least) / (high - low)
    return float(tokens * slope + (least - slope * low))

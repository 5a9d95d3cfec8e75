"""A sampler as a table of numbers.

Inputs of the denoiser treated as constants, every state of a sampler that is linear in the model output is a weighted sum of the
starting noise and of the predictions so far. The weights are found by running the scheduler itself on a basis, once; a rollout
then needs one weighted sum per step, where a multistep scheduler launches dozens of small kernels and waits for the device.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.generators.sampler import Sampler


@dataclass(frozen=True)
class LinearTable:
    """State after step k = ``weights[k, 0]`` * noise + sum_j ``weights[k, 1 + j]`` * prediction_j; float64, on the CPU.

    ``scales``: what the denoiser sees of the state before step k is the state times ``scales[k]``. ``deterministic``: no step
    adds noise of its own, so that the sum is everything.
    """

    weights: Float[Tensor, "steps steps_and_noise"]
    scales: Float[Tensor, " steps"]
    deterministic: bool


def linear_table(new_sampler: Callable[[], Sampler]) -> LinearTable:
    """The table of a sampler; ValueError for one that is not linear in the predictions.

    All rows share the noise of stochastic schedulers. The last but one is nothing at all: it gives what noise alone does. The
    last one mixes everything: a linear scheduler makes the same mixture of its results.
    """
    sampler = new_sampler()
    steps = len(sampler.timesteps)
    # Arbitrary numbers, some well above 1, so that a scheduler that clips is caught.
    mixture = torch.arange(steps + 1, dtype=torch.float64).cos() * 3
    # The noise alone, each prediction alone, nothing, the mixture.
    rows = torch.cat([torch.eye(steps + 1, dtype=torch.float64), torch.zeros(1, steps + 1).double(), mixture[None]])
    # One sample of a single number per row, with its noise in the first column.
    z = sampler.start(rows[:, :1, None, None, None])
    generators = [torch.Generator().manual_seed(0) for _ in rows]
    weights, scales, deterministic = [], [], True
    for k in range(steps):
        scales.append(sampler.model_input(torch.ones_like(z[:1]), k).double().flatten())
        z = sampler.step(rows[:, k + 1].view(-1, 1, 1, 1, 1), k, z, generators).double()
        *results, constant, mixed = z.flatten()
        # What the scheduler's own noise adds is the same in every row.
        weights.append(torch.stack(results) - constant)
        deterministic = deterministic and bool(constant == 0)
        if not torch.allclose(mixed - constant, mixture @ weights[-1], rtol=1e-4, atol=1e-4):
            raise ValueError(
                f"{type(sampler.scheduler).__name__}: its result is not linear in the predictions as it is configured, so the "
                "reward gradient would be wrong; allowed: schedulers without thresholding or clipping"
            )
    return LinearTable(torch.stack(weights), torch.cat(scales), deterministic)

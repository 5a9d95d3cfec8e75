"""Gradients of a reward through a rollout, with the memory of one denoising step, or of as many as fit.

The reward gradient g = dr/dz0 is computed once, and steps are run again with a graph, one after the other.
:func:`backpropagate` is DRTune's: c_k * g goes through each kept step, identical to the naive graph over all kept steps with
detached inputs. :func:`backpropagate_through` is that of the whole rollout, inputs and all.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.generators.base import VideoGenerator
from vist3a.records import Condition
from vist3a.sampling.rollout import Rollout


def backpropagate(
    generator: VideoGenerator,
    path: Rollout,
    gradient: Float[Tensor, "batch channels times rows columns"],
    condition: Condition,
    negative: Condition | None,
    guidance: float,
    together: int = 1,
) -> None:
    """Accumulate d(loss)/d(parameters) of the generator, given ``gradient`` = d(loss)/d(z0), over the kept steps of ``path``.

    ``together``: steps that are run in one batch: less time for more memory, the same sum.
    """
    kept = list(path.inputs)
    for first in range(0, len(kept), together):
        steps = kept[first : first + together]
        noisy = torch.cat([path.inputs[k] for k in steps])
        # Samples of one step lie together, as the inputs were concatenated.
        timesteps = path.timesteps[steps].to(noisy.device).repeat_interleave(len(gradient))
        lengths = path.lengths[steps].to(noisy.device).repeat_interleave(len(gradient))
        with generator.stepping(lengths):
            prediction = generator.guided(noisy, timesteps, Condition.cat([condition] * len(steps)), negative, guidance)
        # z0 is linear in the predictions: d(loss)/d(v_k) = c_k g. The graph of these steps is freed here.
        prediction.backward(torch.cat([gradient * float(path.coefficients[k]) for k in steps]))


def backpropagate_through(
    generator: VideoGenerator,
    path: Rollout,
    gradient: Float[Tensor, "batch channels times rows columns"],
    condition: Condition,
    negative: Condition | None,
    guidance: float,
) -> None:
    """As :func:`backpropagate`, but through all steps and the states between them: nothing of the rollout is cut off.

    The adjoint of the sampler. With its weights w and scales s (:class:`~vist3a.generators.linear_sampler.LinearTable`), step j
    moves the result by w[last, j] and the input of every later step k by s_k w[k - 1, j]; so, from the last step to the first,

        dr/dv_j = w[last, j] g + sum_{k > j} s_k w[k - 1, j] dr/dx_k,    dr/dx_j = (dv_j/dx_j)^T dr/dv_j.

    ``path`` must have the inputs of all steps.

    Raises:
        ValueError: A step's input was not kept.
    """
    weights, steps = path.table.weights, len(path.table.scales)
    if sorted(path.inputs) != list(range(steps)):
        raise ValueError(
            f"the gradient of a whole rollout needs the inputs of its {steps} steps, found {len(path.inputs)}"
        )
    at_inputs: dict[int, Tensor] = {}
    for j in reversed(range(steps)):
        at_prediction = gradient * float(weights[-1, 1 + j])
        for k, at_input in at_inputs.items():
            at_prediction = at_prediction + at_input * float(path.table.scales[k] * weights[k - 1, 1 + j])
        # The first input is noise, which nothing made.
        noisy = path.inputs[j].detach().requires_grad_(j > 0)
        with generator.stepping(path.lengths[j]):
            prediction = generator.guided(noisy, path.timesteps[j].to(noisy.device), condition, negative, guidance)
        prediction.backward(at_prediction)
        if noisy.grad is not None:
            at_inputs[j] = noisy.grad

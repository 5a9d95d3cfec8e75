"""The exact DRTune gradient with the memory of one denoising step, or of as many as fit.

The reward gradient g = dr/dz0 is computed once; each kept step is run again with a graph, and c_k * g is backpropagated
through it. Identical to the naive graph over all kept steps with detached inputs.
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
        prediction = generator.guided(noisy, timesteps, Condition.cat([condition] * len(steps)), negative, guidance)
        # z0 is linear in the predictions: d(loss)/d(v_k) = c_k g. The graph of these steps is freed here.
        prediction.backward(torch.cat([gradient * float(path.coefficients[k]) for k in steps]))

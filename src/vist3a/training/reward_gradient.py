"""The exact DRTune gradient with the memory of one denoising step.

The reward gradient g = dr/dz0 is computed once; each kept step is run again with a graph, and c_k * g is backpropagated
through it. Identical to the naive graph over all kept steps with detached inputs.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from vist3a.models.generators.base import VideoGenerator
from vist3a.records import Condition
from vist3a.training.rollout import Rollout


def backpropagate(
    generator: VideoGenerator,
    path: Rollout,
    gradient: Float[Tensor, "batch channels times rows columns"],
    condition: Condition,
    negative: Condition | None,
    guidance: float,
) -> None:
    """Accumulate d(loss)/d(parameters) of the generator, given ``gradient`` = d(loss)/d(z0), over the kept steps of ``path``."""
    for k, noisy in path.inputs.items():
        prediction = generator.guided(noisy, path.timesteps[k].to(noisy.device), condition, negative, guidance)
        prediction.backward(gradient * float(path.coefficients[k]))

"""How much the rollouts of one prompt differ, held where it was: rewards alone make all videos of a prompt alike."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.alignment.rewards.base import Need, Views
from vist3a.alignment.rewards.consistency import Distance
from vist3a.runtime.slices import in_slices


class Diversity:
    """Minus the share of ``wanted`` by which rollouts of one prompt are closer to each other; 0 where a step's together are not.

    The distance is perceptual (as in LPIPS), frame by frame, and of a rollout the mean over the other ones of its prompt: what
    :func:`vist3a.metrics.video.diversity` measures, in the features that the reward looks through. As with
    :class:`~vist3a.alignment.rewards.geometry.CameraMotion` it is the mean of a step that must not fall short
    (:attr:`~vist3a.alignment.rewards.base.Views.together`): some prompts leave less open than others.

    Args:
        distance: Of pairs of images in [0, 1].
        wanted: Distance that is held.
        at_once: Pairs of which a graph is held (see :func:`vist3a.runtime.slices.in_slices`).

    Raises:
        ValueError: ``wanted`` is not positive.

    Example:
        >>> Diversity(distance, 1.0)(views)  # two rollouts of one prompt, half as far apart as wanted
        tensor([-0.5000, -0.5000])
    """

    needs: frozenset[Need] = frozenset({"decoded"})

    def __init__(self, distance: Distance, wanted: float, at_once: int | None = None) -> None:
        if not wanted > 0:
            raise ValueError(f"align.diversity: {wanted:g}; allowed: a perceptual distance above 0")
        self.distance, self.wanted, self.at_once = distance, wanted, at_once

    def __call__(self, views: Views) -> Float[Tensor, " batch"]:
        """Score of at least -1; 0 for a sample whose prompt no other has."""
        films, prompts = views.images("decoded"), views.prompts
        pairs = [(i, j) for j, prompt in enumerate(prompts) for i in range(j) if prompts[i] == prompt]
        if not pairs:
            return films.new_zeros(len(films))
        first, second = torch.tensor(pairs, device=films.device).T
        distance = in_slices(self.distance, self.at_once)(films[first].flatten(0, 1), films[second].flatten(0, 1))
        distance = distance.view(len(pairs), -1).mean(1)
        ends, twice = torch.cat([first, second]), torch.cat([distance, distance])
        total = distance.new_zeros(len(films)).index_add(0, ends, twice)
        others = distance.new_zeros(len(films)).index_add(0, ends, torch.ones_like(twice))
        # A sample without another is as far from it as wanted.
        apart = torch.where(others > 0, total / others.clamp(min=1), self.wanted)
        return torch.where(views.together(apart.detach()) < self.wanted, apart / self.wanted - 1, 0.0)

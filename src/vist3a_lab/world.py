"""The procedural world as the application knows it (``World`` and ``NamesKinds`` of :mod:`vist3a.data.world`)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from vist3a.records import ExactScenes


class ProceduralWorld:
    """Objects of known shape and color on a ground, seen along smooth paths."""

    def scenes(
        self,
        seed: int,
        numbers: Sequence[int],
        size: tuple[int, int],
        views: int,
        extra_views: int = 0,
        device: torch.device | str = "cpu",
    ) -> ExactScenes:
        """Scenes of a seed in ``views`` frames of ``size`` (height, width) and ``extra_views`` held-out views."""
        from vist3a_lab.procedural import WorldConfig, make_world

        config = WorldConfig(seed, views, extra_views, height=size[0], width=size[1])
        return make_world(config, numbers, device=device).exact(views)

    def prompts(self, seed: int, count: int) -> list[str]:
        """Texts of the world's grammar about scenes that no clip shows, balanced over their kinds."""
        from vist3a_lab.procedural import sample_prompts

        return [prompt.text for prompt in sample_prompts(seed, count)]

    def kinds(self, prompt: str) -> tuple[str, ...]:
        """How many objects of which shapes and colors, in which relation, on which ground, before which background."""
        from vist3a_lab.procedural import kinds_of, parse_prompt

        return kinds_of(parse_prompt(prompt))

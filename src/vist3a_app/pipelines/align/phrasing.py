"""Prompts of alignment, and those of rollouts in templates that are drawn anew each time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from vist3a import registry
from vist3a.data.prompt_list import read_prompts
from vist3a.data.world import World
from vist3a.generators.condition_store import in_template
from vist3a.records.condition import Ask
from vist3a.runtime.loop import step_generator
from vist3a_app.pipelines.align.params import AlignParams
from vist3a_app.pipelines.networks import Networks


def prompts_of(params: AlignParams) -> list[str]:
    """Those of the file, or as many of the world."""
    if params.prompts_file is None:
        world: World = registry.find("worlds", params.world, "align.world")()
        return world.prompts(params.seed, params.prompts)
    return read_prompts(Path(params.prompts_file))


def in_templates(params: AlignParams, networks: Networks, prompts: Sequence[str], store: Path) -> Ask | None:
    """Asks the prompts of rollouts in the templates, where there are any; all are embedded now."""
    if not params.prompt_templates:
        return None
    count = params.loop.steps * params.prompts_per_step
    # Drawn for the whole run now, so that the text encoder can go before training; prompts come in turn.
    texts = [phrased(params.prompt_templates, prompts[n % len(prompts)], n, params.seed) for n in range(count)]
    files = networks.conditions(texts, store)
    return lambda _, places: files([texts[place] for place in places])


def phrased(templates: Sequence[str], prompt: str, place: int, seed: int) -> str:
    """The prompt in the template that belongs to its place among all prompts of the run."""
    drawn = int(torch.randint(len(templates), (), generator=step_generator(seed, place)))
    return in_template(templates[drawn], prompt)

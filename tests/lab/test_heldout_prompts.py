"""Prompts to be judged on are as many as asked for, and none that was trained on, wherever these came from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import project_config
import pytest
from omegaconf import OmegaConf

from vist3a.data.world import MOST_DRAWN, prompt_kinds, unseen_prompts
from vist3a_app.pipelines.align.params import AlignParams
from vist3a_lab.pipelines.heldout_prompts import heldout_prompts
from vist3a_lab.world import ProceduralWorld

HELDOUT, COUNT = 60001, 6


def alignment(**changes: Any) -> AlignParams:
    base = dict(project_config.loader("base")["parameters"])["align"]
    merged: Any = OmegaConf.to_container(OmegaConf.merge(base, changes))
    return AlignParams(**merged)


def test_prompts_of_a_file_are_left_out(tmp_path: Path) -> None:
    fresh = ProceduralWorld().prompts(HELDOUT, 4 * COUNT)
    assert heldout_prompts(alignment(), 1, HELDOUT, COUNT) == fresh[:COUNT]
    # So many that among the first twice as many as wanted too few are left.
    (tmp_path / "prompts.txt").write_text("\n".join([*fresh[: 2 * COUNT - 1], "a cat"]))
    found = heldout_prompts(alignment(prompts_file=str(tmp_path / "prompts.txt")), 1, HELDOUT, COUNT)
    assert found == fresh[2 * COUNT - 1 : 3 * COUNT - 1]


def test_prompts_that_were_drawn_for_the_seed_are_left_out() -> None:
    """An alignment of the held-out seed itself sees the first of its prompts."""
    fresh = ProceduralWorld().prompts(HELDOUT, 4 * COUNT)
    assert len(set(fresh)) == len(fresh)
    assert heldout_prompts(alignment(prompts=COUNT), HELDOUT, HELDOUT, COUNT) == fresh[COUNT : 2 * COUNT]


def test_too_few_are_a_sentence_and_no_shorter_list() -> None:
    seen = ProceduralWorld().prompts(HELDOUT, 2 * MOST_DRAWN)
    with pytest.raises(ValueError, match=r"of 128 prompts of seed 60001 only 0 were not trained on; 2 are wanted"):
        unseen_prompts(ProceduralWorld(), HELDOUT, 2, seen)


class NoKinds:
    """A world of somebody else, who names no kinds."""

    scenes, prompts = ProceduralWorld.scenes, ProceduralWorld.prompts


def test_a_world_names_the_kinds_of_its_prompts_or_does_not() -> None:
    texts = ["a white cone at night", "a cat"]
    expected = ("objects: 1", "shape: cone", "color: white", "ground: unstated", "background: night sky")
    assert prompt_kinds(ProceduralWorld(), texts) == [expected, ()]
    assert prompt_kinds(NoKinds(), texts) is None

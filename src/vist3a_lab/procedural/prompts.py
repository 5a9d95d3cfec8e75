"""Prompts for evaluation with what a judge should find, and the parser that reads such attributes from a text."""

from __future__ import annotations

import itertools

import numpy as np

from vist3a_lab.procedural.balance import evenly
from vist3a_lab.procedural.captions import (
    BACKGROUND_PHRASES,
    COLOUR_WORDS,
    FINISH_WORDS,
    FLOOR_NOUNS,
    GROUND_WORDS,
    NOUNS,
    SIZE_WORDS,
    Prompt,
    PromptObject,
    compose,
)
from vist3a_lab.procedural.kinds import FAMILIES, kinds_of
from vist3a_lab.procedural.layout import sample_scenes
from vist3a_lab.procedural.scene import Relation
from vist3a_lab.procedural.uniforms import PROMPT_STREAM, WORDING_STREAM

DRAWN_AT_FIRST, DRAWN_FOR_EACH = 256, 8
"""Scenes behind the first prompt, and for each that follows: the rarest kind is half as frequent as its even share."""

RELATIONS_AMONG = {f"relation among {count}": FAMILIES["relation"] for count in (2, 3)}
"""Balanced for each number of objects: otherwise one relation would come mostly with three of them, and seem to be as hard."""

_RELATION_WORDS = {"left": "left", "right": "right", "front": "front", "behind": "behind"}


def _inverted(table: dict[str, tuple[str, ...]]) -> dict[str, str]:
    return {word: name for name, words in table.items() for word in words}


_SHAPE_OF, _SIZE_OF, _FINISH_OF = (_inverted(NOUNS), _inverted(SIZE_WORDS), _inverted(FINISH_WORDS))
_BACKGROUND_OF = _inverted(BACKGROUND_PHRASES)


def sample_prompts(seed: int, count: int, objects: int | None = None) -> list[Prompt]:
    """Prompts from scenes that no training set contains, no text twice, with the kinds of every family equally often.

    Of any beginning of the list the counts of two kinds of a family differ by two at most (see ``kinds.FAMILIES``), those of
    relations among two and among three objects, too.

    Args:
        seed: Names the list; prompt i depends on (seed, i, objects) only.
        count: Number of prompts.
        objects: Fixed number of objects (1 to 3) or ``None`` for all numbers equally often.
    """
    drawn = DRAWN_AT_FIRST + DRAWN_FOR_EACH * count
    scenes = sample_scenes(seed, range(drawn), objects=objects, stream=PROMPT_STREAM)
    texts: dict[str, tuple[int, Prompt]] = {}
    for number, description in enumerate(scenes.descriptions()):
        prompt = compose(description, stream=WORDING_STREAM)
        texts.setdefault(prompt.text, (number, prompt))
    numbers, prompts = zip(*texts.values(), strict=True)
    # Prompt i is chosen from scenes that belong to it and those before, not from all that a longer list would draw.
    reach = np.searchsorted(numbers, DRAWN_AT_FIRST + DRAWN_FOR_EACH * np.arange(count))
    families = FAMILIES if objects is None else {name: kinds for name, kinds in FAMILIES.items() if name != "objects"}
    kinds = [(*kinds_of(prompt), *_relation_among(prompt)) for prompt in prompts]
    return [prompts[place] for place in evenly(kinds, families | RELATIONS_AMONG, reach.tolist())]


def _relation_among(prompt: Prompt) -> list[str]:
    return [
        kind.replace("relation", f"relation among {len(prompt.objects)}")
        for kind in kinds_of(prompt)
        if kind.startswith("relation: ")
    ]


def parse_prompt(text: str) -> Prompt:
    """Attributes that a text in the world's vocabulary mentions; what it does not understand is left out.

    An object is a colour followed by a shape noun; size and finish stand before the colour. A relation holds between
    two objects when its word stands between them with no other object in between.
    """
    words = text.lower().replace(",", " ").replace(".", " ").split()
    found: list[tuple[int, int, PromptObject]] = []
    for place in range(1, len(words)):
        if words[place] not in _SHAPE_OF or words[place - 1] not in COLOUR_WORDS:
            continue
        # Backwards from the color, as size and finish stand in any order.
        size = finish = None
        start = place - 1
        while start > 0 and (words[start - 1] in _SIZE_OF or words[start - 1] in _FINISH_OF):
            start -= 1
            size = _SIZE_OF.get(words[start], size)
            finish = _FINISH_OF.get(words[start], finish)
        found.append((start, place, PromptObject(_SHAPE_OF[words[place]], words[place - 1], size, finish)))
    relations = []
    for k in range(len(found) - 1):
        between = words[found[k][1] + 1 : found[k + 1][0]]
        kinds = [_RELATION_WORDS[word] for word in between if word in _RELATION_WORDS]
        # Two relation words between the same objects contradict each other, or belong to something else.
        if len(kinds) == 1:
            relations.append(Relation(k, kinds[0], k + 1))
    pairs = list(itertools.pairwise(words))
    ground = next((first for first, second in pairs if first in GROUND_WORDS and second in FLOOR_NOUNS), None)
    # Between spaces, so that a phrase is found as whole words only.
    joined = f" {' '.join(words)} "
    background = next((name for phrase, name in _BACKGROUND_OF.items() if f" {phrase} " in joined), None)
    return Prompt(text, tuple(thing for _, _, thing in found), ground, background, tuple(relations))

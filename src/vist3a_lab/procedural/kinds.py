"""Kinds of prompts: how many objects, which shapes and colors, which relation, ground and background."""

from __future__ import annotations

from vist3a_lab.procedural.attributes import BACKGROUNDS, COLOURS, GROUNDS, MAX_OBJECTS, RELATIONS, SHAPES
from vist3a_lab.procedural.captions import Prompt

UNSTATED = "unstated"
"""The kind of prompts that say nothing of something that they could have named."""
FAMILIES: dict[str, tuple[str, ...]] = {
    "objects": tuple(str(count) for count in range(1, MAX_OBJECTS + 1)),
    "shape": SHAPES,
    "color": COLOURS,
    "relation": (*RELATIONS, UNSTATED),
    "ground": (*GROUNDS, UNSTATED),
    "background": (*BACKGROUNDS, UNSTATED),
}
"""Values that occur in prompts of the grammar, by what they are values of."""
KINDS = tuple(f"{family}: {value}" for family, values in FAMILIES.items() for value in values)
"""All kinds that a prompt of the grammar can be of."""


def kinds_of(prompt: Prompt) -> tuple[str, ...]:
    """Every kind that a prompt is of, each once, in the order of ``FAMILIES``; none where it names no object.

    A single object has no relation to be stated.

    Example:
        >>> kinds_of(parse_prompt("a white cone behind a red ball at night"))
        ('objects: 2', 'shape: sphere', 'shape: cone', 'color: red', 'color: white', 'relation: behind', 'ground: unstated',
         'background: night sky')
    """
    if not prompt.objects:
        return ()
    # In the order of the attributes, so that equal kinds are equal tuples, however the text puts them.
    shapes = {thing.shape for thing in prompt.objects}
    colors = {thing.colour for thing in prompt.objects}
    related = {relation.kind for relation in prompt.relations}
    named = {
        "objects": [str(len(prompt.objects))],
        "shape": [shape for shape in SHAPES if shape in shapes],
        "color": [color for color in COLOURS if color in colors],
        "relation": [kind for kind in RELATIONS if kind in related] or [UNSTATED] * (len(prompt.objects) > 1),
        "ground": [prompt.ground or UNSTATED],
        "background": [prompt.background or UNSTATED],
    }
    return tuple(f"{family}: {value}" for family, values in named.items() for value in values)

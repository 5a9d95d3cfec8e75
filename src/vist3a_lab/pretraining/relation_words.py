"""Supervision of the text encoder: which side of the other object is this word's object on?

"A left of B" and "B right of A" say the same, "A right of B" the opposite: which object stands where is an exclusive-or of the
word and the order. The denoising loss alone does not find it in thousands of steps (left and right stay at chance, while colours
and shapes are right). Asked of the text encoder directly, through a linear head that is used in training only, it is learned.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vist3a_lab.procedural import RELATIONS, parse_prompt
from vist3a_lab.procedural.captions import INVERSE, NOUNS

UNKNOWN = -1
SHAPE_NOUNS = frozenset(noun for nouns in NOUNS.values() for noun in nouns)


def relation_targets(texts: Sequence[str], words: int) -> Int[Tensor, "texts words"]:
    """Class of the relation in which the object of a word stands to the other one, ``UNKNOWN`` for all other words.

    Colours and nouns of the two objects of a stated relation have a class. Token i is word i (the tokenizer is word-level), and
    no two objects of a text share a colour.
    """
    targets = torch.full((len(texts), words), UNKNOWN)
    for row, text in enumerate(texts):
        tokens, prompt = text.split(), parse_prompt(text)
        for relation in prompt.relations:
            # Each object knows its own side of the relation.
            sides = ((relation.subject, relation.kind), (relation.reference, INVERSE[relation.kind]))
            for thing, kind in sides:
                color = prompt.objects[thing].colour
                # The color that a noun of shape follows: "white" is said of rooms too.
                place = next(
                    i for i, pair in enumerate(pairwise(tokens)) if pair[0] == color and pair[1] in SHAPE_NOUNS
                )
                targets[row, place : place + 2] = RELATIONS.index(kind)
    return targets


class RelationHead(nn.Module):
    """Reads a word's relation from the text encoder's state at it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.classify = nn.Linear(width, len(RELATIONS))

    def forward(
        self, states: Float[Tensor, "batch words width"], targets: Int[Tensor, "batch words"]
    ) -> Float[Tensor, ""]:
        """Cross-entropy over the words that have a class; zero when none has."""
        logits = self.classify(states.float()).flatten(0, 1)
        # Over the words that count, as most have no class.
        known = (targets != UNKNOWN).sum().clamp(min=1)
        total = nn.functional.cross_entropy(logits, targets.flatten(), ignore_index=UNKNOWN, reduction="sum")
        return total / known

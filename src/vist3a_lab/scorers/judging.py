"""What a judge with attribute heads says about a clip, compared with what a prompt or a scene says.

The heads name objects by their colour, which no two objects of a scene share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from vist3a_lab.procedural import RELATIONS, SHAPES, Prompt, Relation, SceneDescription, parse_prompt
from vist3a_lab.scorers.dual_encoder import DualEncoder


@dataclass(frozen=True)
class Wanted:
    """(Colour, shape) of the objects, and a relation between two of them, if any."""

    objects: tuple[tuple[str, str], ...]
    relation: Relation | None = None

    @classmethod
    def of(cls, text: Prompt | SceneDescription) -> Wanted:
        """What a prompt or a scene's description says; of several relations the first."""
        objects = tuple((thing.colour, thing.shape) for thing in text.objects)
        return cls(objects, text.relations[0] if text.relations else None)


def read_clip(judge: DualEncoder, frames: Float[Tensor, "views 3 height width"]) -> dict[str, Tensor]:
    """Class probabilities of every attribute head: relations in the first frame, all else averaged over the frames."""
    return {
        name: logits.softmax(-1)[:1].mean(0) if name.startswith("relation") else logits.softmax(-1).mean(0)
        for name, logits in judge.attributes(frames).items()
    }


def objects(seen: Mapping[str, Tensor], wanted: Wanted) -> bool:
    """Every wanted colour is there, on the wanted shape."""
    return all(_shape(seen, colour) == shape for colour, shape in wanted.objects)


def relation(seen: Mapping[str, Tensor], wanted: Wanted) -> bool:
    """Both colours are there and the objects stand to each other as stated."""
    if wanted.relation is None:
        raise ValueError("this text states no relation")
    there = all(_shape(seen, colour) is not None for colour, _ in wanted.objects)
    subject, _ = wanted.objects[wanted.relation.subject]
    return there and RELATIONS[int(seen[f"relation_of_{subject}"].argmax())] == wanted.relation.kind


def shows(judge: DualEncoder, prompt: str, frames: Float[Tensor, "views 3 height width"]) -> bool:
    """Whether a clip shows every object that a prompt names, and its first relation if it states one."""
    seen, wanted = read_clip(judge, frames), Wanted.of(parse_prompt(prompt))
    return objects(seen, wanted) and (wanted.relation is None or relation(seen, wanted))


TASKS: dict[str, tuple[int, Callable[[Mapping[str, Tensor], Wanted], bool]]] = {
    "single_object": (1, objects),
    "two_objects": (2, objects),
    "relation": (2, relation),
}
"""Name of a task -> number of objects in its texts, and the test."""


def _shape(seen: Mapping[str, Tensor], colour: str) -> str | None:
    """Shape of the object of this colour; None when the judge sees none."""
    found = int(seen[f"shape_of_{colour}"].argmax())
    # The class behind the shapes means that there is no such object.
    return SHAPES[found] if found < len(SHAPES) else None

"""Captions of procedural scenes: a small grammar over a closed vocabulary, chosen by (seed, scene, variant)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vist3a_lab.procedural.scene import ObjectDescription, Relation, SceneDescription
from vist3a_lab.procedural.uniforms import CAPTION_STREAM, uniform_block

MAX_WORDS = 32

NOUNS = {"sphere": ("sphere", "ball"), "cube": ("cube", "box"), "cylinder": ("cylinder",), "cone": ("cone",)}
COLOUR_WORDS = ("red", "green", "blue", "yellow", "purple", "orange", "white", "black")
SIZE_WORDS = {"small": ("small", "little"), "medium": ("medium",), "large": ("large", "big")}
FINISH_WORDS = {"plain": ("plain",), "striped": ("striped",), "checkered": ("checkered",), "shiny": ("shiny", "glossy")}
GROUND_WORDS = ("wooden", "stone", "sandy", "grassy", "brick", "tiled")
FLOOR_NOUNS = ("floor", "ground")
BACKGROUND_PHRASES = {
    "blue sky": ("under a blue sky", "with a blue sky", "on a sunny day"),
    "sunset sky": ("under a sunset sky", "with a sunset sky", "at sunset"),
    "night sky": ("under a night sky", "with a dark sky", "at night"),
    "cloudy sky": ("under a cloudy sky", "with a cloudy sky", "on a cloudy day"),
    "white room": ("in a white room", "inside a white room"),
    "warm room": ("in a warm room", "inside a warm room"),
}
RELATION_PHRASES = {
    "left": ("to the left of", "left of", "on the left of"),
    "right": ("to the right of", "right of", "on the right of"),
    "front": ("in front of",),
    "behind": ("behind",),
}
INVERSE = {"left": "right", "right": "left", "front": "behind", "behind": "front"}
SIDE_BY_SIDE = ("and", "next to", "beside", "together with")
STAND = ("", "", "", "standing", "placed", "resting", "sitting")
OPENINGS = (
    "", "", "", "", "there is", "we see", "a picture of", "a photo of", "an image of", "a scene with", "a view of",
    "this scene shows", "here is",
)  # fmt: skip
COUNTED = {2: ("two objects",), 3: ("three objects",)}


def _words() -> tuple[str, ...]:
    """All words that the grammar can produce, sorted."""
    phrases: list[str] = [
        "a an and with",
        *COLOUR_WORDS,
        *GROUND_WORDS,
        *FLOOR_NOUNS,
        *SIDE_BY_SIDE,
        *STAND,
        *OPENINGS,
        "on",
    ]
    for table in (NOUNS, SIZE_WORDS, FINISH_WORDS, BACKGROUND_PHRASES, RELATION_PHRASES):
        phrases += [phrase for options in table.values() for phrase in options]
    phrases += [phrase for options in COUNTED.values() for phrase in options]
    return tuple(sorted({word for phrase in phrases for word in phrase.split()}))


VOCABULARY = _words()
"""Every word of every caption and sampled prompt."""


@dataclass(frozen=True)
class PromptObject:
    """What a text says about one object; ``None`` where it says nothing."""

    shape: str
    colour: str
    size: str | None = None
    finish: str | None = None


@dataclass(frozen=True)
class Prompt:
    """A text and what a judge should find in a scene made from it; objects in the order of the text."""

    text: str
    objects: tuple[PromptObject, ...]
    ground: str | None = None
    background: str | None = None
    relations: tuple[Relation, ...] = ()


class _Choices:
    """Walks through a block of uniforms."""

    def __init__(self, uniforms: Sequence[float]) -> None:
        self._uniforms = iter(uniforms)

    def of(self, options: Sequence[str]) -> str:
        return options[int(next(self._uniforms) * len(options))]

    def chance(self, probability: float) -> bool:
        return next(self._uniforms) < probability


def _noun_phrase(thing: ObjectDescription, choose: _Choices, size: bool, finish: bool) -> tuple[str, PromptObject]:
    # Every choice is drawn, used or not: a shorter text makes the same choices as the whole one.
    size_word, finish_word = (choose.of(SIZE_WORDS[thing.size]), choose.of(FINISH_WORDS[thing.finish]))
    noun = choose.of(NOUNS[thing.shape])
    # Medium and plain are what nobody mentions; they appear now and then so that the words have a meaning.
    usual = thing.size == "medium", thing.finish == "plain"
    say_size = choose.chance(0.12 if usual[0] else 0.5) and size
    say_finish = choose.chance(0.06 if usual[1] else 0.7) and finish
    words = [size_word] * say_size + [finish_word] * say_finish + [thing.colour, noun]
    article = "an" if words[0][0] in "aeiou" else "a"
    mentioned = PromptObject(
        thing.shape, thing.colour, thing.size if say_size else None, thing.finish if say_finish else None
    )
    return " ".join([article, *words]), mentioned


def _compose(scene: SceneDescription, uniforms: Sequence[float], brevity: int) -> Prompt:
    """One sentence; ``brevity`` 0 to 3 leaves out finishes, sizes, then the background."""
    choose = _Choices(uniforms)
    order = list(range(len(scene.objects)))
    if choose.chance(0.5):
        order.reverse()
    # A stated relation holds between the first two objects of the text.
    if len(order) == 3 and choose.chance(0.5):
        order = [order[1], order[2], order[0]]
    phrases, mentioned = zip(
        *(_noun_phrase(scene.objects[k], choose, brevity < 2, brevity < 1) for k in order), strict=True
    )
    relations: tuple[Relation, ...] = ()
    opening, counted, stand, side = (
        choose.of(OPENINGS),
        choose.chance(0.12),
        choose.of(STAND),
        choose.of(SIDE_BY_SIDE),
    )
    state_relation, wording = choose.chance(0.65), choose.chance(0.5)
    floor, say_ground, say_background = (choose.of(FLOOR_NOUNS), choose.chance(0.75), choose.chance(0.6))
    background_phrase, background_first = (choose.of(BACKGROUND_PHRASES[scene.background]), choose.chance(0.2))
    relation_pick = 0 if wording else -1

    body = phrases[0]
    if len(phrases) > 1:
        kind = _relation_between(scene, order[0], order[1])
        if kind is not None and state_relation:
            relations = (Relation(0, kind, 1),)
            body = f"{body} {RELATION_PHRASES[kind][relation_pick]} {phrases[1]}"
        elif len(phrases) == 3:
            body = f"{body} and {phrases[1]}"
        else:
            body = f"{body} {side} {phrases[1]}"
        if len(phrases) == 3:
            # "with" keeps the third object out of the relation; "and" would put it in.
            body = f"{body} {'with' if relations else 'and'} {phrases[2]}"
        if counted and not relations and brevity == 0:
            body = f"{COUNTED[len(phrases)][0]} {body}"
    ground = scene.ground if say_ground else None
    background = scene.background if say_background and brevity < 3 else None
    parts = [body]
    if ground is not None:
        article = "an" if ground[0] in "aeiou" else "a"
        parts.append(f"{stand} on {article} {ground} {floor}".strip())
    if background is not None and not (background_first and background_phrase.split()[0] in ("at", "in", "on")):
        parts.append(background_phrase)
    elif background is not None:
        parts.insert(0, background_phrase)
        opening = opening if opening in ("there is", "we see") else ""
    if opening:
        parts.insert(1 if parts[0] != body else 0, opening)
    return Prompt(" ".join(parts), mentioned, ground, background, relations)


def _relation_between(scene: SceneDescription, first: int, second: int) -> str | None:
    for relation in scene.relations:
        if (relation.subject, relation.reference) == (first, second):
            return relation.kind
        if (relation.reference, relation.subject) == (first, second):
            return INVERSE[relation.kind]
    return None


def compose(scene: SceneDescription, variant: int = 0, stream: int = CAPTION_STREAM) -> Prompt:
    """Text of a scene with the attributes it mentions; depends on the scene's (seed, index) and the variant only."""
    uniforms = uniform_block(scene.seed, scene.index, 48, stream, variant).tolist()
    for brevity in range(4):
        prompt = _compose(scene, uniforms, brevity)
        if len(prompt.text.split()) <= MAX_WORDS:
            break
    return prompt


def describe(scene: SceneDescription, variant: int = 0) -> str:
    """Caption of a scene: lower case, words of ``VOCABULARY``, at most ``MAX_WORDS`` words."""
    return compose(scene, variant).text

"""Prompts of every kind come equally often, whatever the world's own mixture is."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from vist3a_lab.procedural import kinds_of, parse_prompt, sample_prompts
from vist3a_lab.procedural.balance import evenly
from vist3a_lab.procedural.kinds import FAMILIES, KINDS

SMALL = {"hue": ("red", "blue"), "size": ("1", "2", "3")}


def spread(counted: Counter[str], family: str) -> int:
    counts = [counted[f"{family}: {value}"] for value in FAMILIES[family]]
    return max(counts) - min(counts)


@pytest.mark.parametrize(("seed", "objects"), [(0, None), (77001, None), (62001, None), (3, 1), (3, 2), (3, 3)])
def test_counts_of_a_familys_kinds_stay_within_two_from_the_first_prompt_on(seed: int, objects: int | None) -> None:
    prompts = sample_prompts(seed, 120, objects)
    assert len({prompt.text for prompt in prompts}) == 120
    counted: Counter[str] = Counter()
    for prompt in prompts:
        counted.update(kinds_of(prompt))
        for family in FAMILIES.keys() - ({"objects"} if objects else set()):
            assert spread(counted, family) <= 2, (family, counted)
    assert counted.keys() <= set(KINDS)
    # One object alone has no relation; every other kind there is occurs.
    missing = {kind for kind in set(KINDS) - counted.keys() if not kind.startswith("objects")}
    assert missing == ({kind for kind in KINDS if kind.startswith("relation")} if objects == 1 else set())


def test_a_relation_comes_as_often_with_two_objects_as_with_three() -> None:
    """Else figures by relation would tell how hard three objects are."""
    counted = Counter(
        (len(prompt.objects), kind)
        for prompt in sample_prompts(77001, 150)
        for kind in kinds_of(prompt)
        if kind.startswith("relation")
    )
    assert len(counted) == 10
    assert max(counted.values()) - min(counted.values()) <= 3


def test_picks_are_those_of_counting_by_hand() -> None:
    draw = random.Random(0)
    items = [[f"hue: {draw.choice(['red'] * 5 + ['blue'])}", f"size: {draw.choice('11123')}"] for _ in range(60)]
    reach = [8 + 3 * i for i in range(15)]
    taken: list[int] = []
    for seen in reach:
        costs = {}
        for place in set(range(seen)) - set(taken):
            counted = Counter(kind for one in [*taken, place] for kind in items[one])
            cost = 0
            for family, values in SMALL.items():
                counts = [counted[f"{family}: {value}"] for value in values]
                cost += sum((count - min(counts)) ** 4 for count in counts)
            costs[place] = cost
        taken.append(min(sorted(costs), key=costs.__getitem__))
    assert evenly(items, SMALL, reach) == taken
    assert evenly(items, SMALL, reach[:6]) == taken[:6]


def test_nothing_left_is_a_sentence() -> None:
    with pytest.raises(ValueError, match="all of the first 1 items are taken; 2 are wanted"):
        evenly([["hue: red"], ["hue: blue"]], SMALL, [1, 1])


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        (
            "a white cone behind a small red ball on a tiled floor at night",
            ("objects: 2", "shape: sphere", "shape: cone", "color: red", "color: white", "relation: behind", "ground: tiled",
             "background: night sky"),
        ),
        ("a red box", ("objects: 1", "shape: cube", "color: red", "ground: unstated", "background: unstated")),
        (
            "a red box and a blue cube in a warm room",
            ("objects: 2", "shape: cube", "color: red", "color: blue", "relation: unstated", "ground: unstated",
             "background: warm room"),
        ),
        ("a cat on a brick floor", ()),
    ],
)  # fmt: skip
def test_kinds_of_a_text(text: str, kinds: tuple[str, ...]) -> None:
    assert kinds_of(parse_prompt(text)) == kinds

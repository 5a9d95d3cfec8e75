"""A list in which every kind occurs as often as the others of its family, drawn from an unbalanced one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np


def evenly(kinds: Sequence[Sequence[str]], families: Mapping[str, Sequence[str]], reach: Sequence[int]) -> list[int]:
    """Places of items, picked one by one so that at no time a kind of a family occurs much more often than another.

    Pick i is the first, among the first ``reach[i]`` items that are not taken, that leaves the counts of kinds most even: least
    sum of the fourth powers of how many more there are of a kind than of the rarest in its family. So a beginning of ``reach``
    gives the beginning of the list.

    Args:
        kinds: Of every item, as ``FAMILY: VALUE``; those of no family are ignored.
        families: Values that are to occur equally often, by family.
        reach: How many of the items each pick may choose from; more than are taken by then.

    Raises:
        ValueError: Nothing is left to pick from.

    Example:
        >>> evenly([["hue: red"], ["hue: red"], ["hue: blue"]], {"hue": ["red", "blue"]}, [3, 3])
        [0, 2]
    """
    columns = [[f"{family}: {value}" for value in values] for family, values in families.items()]
    # Whole numbers, so that ties are ties on every machine.
    has = [np.array([[name in own for name in names] for own in kinds], dtype=np.int64) for names in columns]
    counts = [np.zeros(len(names), np.int64) for names in columns]
    free = np.ones(len(kinds), dtype=bool)
    picked: list[int] = []
    for seen in reach:
        places = np.flatnonzero(free[:seen])
        if not len(places):
            raise ValueError(f"all of the first {seen} items are taken; {len(reach)} are wanted")
        unevenness = np.zeros(len(places), np.int64)
        for count, rows in zip(counts, has, strict=True):
            after = count + rows[places]
            unevenness += ((after - after.min(1, keepdims=True)) ** 4).sum(1)
        best = int(places[unevenness.argmin()])
        free[best] = False
        counts = [count + rows[best] for count, rows in zip(counts, has, strict=True)]
        picked.append(best)
    return picked

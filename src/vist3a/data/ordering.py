"""Any set of views of a scene as a smooth sequence, which video encoders need, and back.

The paper names unordered views as a limitation (section F). Here the views become the shortest open path through their pairwise
distances (see ``view_distance``): exact up to ``EXACT`` views, greedy and improved by local moves beyond.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vist3a.records.frame_count import AllowedFrames, any_frames, at_least, at_most

EXACT = 13
"""Views up to which the shortest path is found exactly (Held and Karp, 1962: 2^n n^2 steps)."""
STARTS = 16
"""Greedy paths that are improved where there are more views."""

Distances = NDArray[np.float64]


@dataclass(frozen=True)
class ViewOrder:
    """``sequence`` lists the input view of every place of the smooth sequence, with repeats that fill it; ``places`` the
    place of every input view.
    """

    sequence: tuple[int, ...]
    places: tuple[int, ...]

    def arrange(self, views: Tensor, dim: int = 0) -> Tensor:
        """Input views (along ``dim``) as the smooth sequence."""
        return views.index_select(dim, torch.tensor(self.sequence, device=views.device))

    def restore(self, results: Tensor, dim: int = 0) -> Tensor:
        """What was computed for the places of the sequence (along ``dim``), per view in the order of the input."""
        return results.index_select(dim, torch.tensor(self.places, device=results.device))


def order_views(distances: Distances, allowed: AllowedFrames = any_frames) -> ViewOrder:
    """Smooth sequence of as many places as the rule ``allowed`` of a video generator wants.

    Its direction is the one that agrees more with the order of the input, so that a smooth clip stays as it is. The last view is
    repeated to fill the sequence, as the paper does (section C.2).

    Args:
        distances: Symmetric [views, views], zero on the diagonal.
        allowed: The rule, e.g. :meth:`VideoGenerator.allowed_frames`; by default any number is allowed.

    Raises:
        ValueError: The generator takes no clip as long as this.
    """
    path = shortest_path(distances)
    if _agreement(path) < 0:
        path = path[::-1]
    places = np.argsort(path)
    return ViewOrder(fill_frames(tuple(path), allowed), tuple(int(place) for place in places))


def fill_frames(views: tuple[int, ...], allowed: AllowedFrames) -> tuple[int, ...]:
    """The last view repeated up to an allowed number of frames (VIST3A, section C.2).

    Raises:
        ValueError: The generator takes no clip as long as this.
    """
    places = at_least(allowed, len(views))
    if not places:
        raise ValueError(f"{len(views)} views; the generator takes at most {at_most(allowed, len(views))} frames")
    return (*views, *views[-1:] * (places - len(views)))


def shortest_path(distances: Distances) -> list[int]:
    """Shortest path that visits every item once, with free ends; exact up to ``EXACT`` items.

    The path follows from the distances alone: renumbering the items renumbers it (up to its direction, and to items that the
    distances do not tell apart).

    Raises:
        ValueError: Not a symmetric matrix of finite distances >= 0.
    """
    matrix = np.asarray(distances, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not len(matrix):
        raise ValueError(f"distances of shape {matrix.shape}; a square matrix of at least one view is needed")
    if not np.isfinite(matrix).all() or (matrix < 0).any() or (matrix != matrix.T).any():
        raise ValueError("distances must be finite, not negative and symmetric")
    # Work in an order that the distances define, so that ties fall in the same way however the items are numbered.
    canonical = sorted(range(len(matrix)), key=lambda i: sorted(matrix[i]))
    ordered = matrix[np.ix_(canonical, canonical)]
    path = _exact_path(ordered) if len(ordered) <= EXACT else _improved_path(ordered)
    return [canonical[i] for i in path]


def path_length(distances: Distances, path: list[int]) -> float:
    """Sum of the distances between neighbours."""
    return float(distances[path[:-1], path[1:]].sum())


def _agreement(path: list[int]) -> float:
    """Pairs in the order of the input minus pairs against it; ties are decided by the ends."""
    signs = np.sign(np.subtract.outer(path, path))  # [later, earlier]
    return float(np.tril(signs).sum()) or float(np.sign(path[-1] - path[0]))


def _exact_path(distances: Distances) -> list[int]:
    """Held and Karp: the shortest path through each subset (a bit mask) that ends in each of its items."""
    count = len(distances)
    bits = 1 << np.arange(count)
    shortest = np.full((1 << count, count), np.inf)
    before = np.zeros((1 << count, count), dtype=np.int64)
    shortest[bits, np.arange(count)] = 0
    # In the order of their numbers: adding an item makes a larger number, so every subset is final when read.
    for subset in range(1, (1 << count) - 1):
        outside = np.flatnonzero((subset & bits) == 0)
        longer = shortest[subset][:, None] + distances[:, outside]
        last = longer.argmin(0)
        into = subset | bits[outside]
        # Each (subset, end) is reached once: from the subset without that end.
        shortest[into, outside] = longer[last, np.arange(len(outside))]
        before[into, outside] = last
    # Back from the best end of the full set, one item at a time.
    subset = (1 << count) - 1
    path = [int(shortest[subset].argmin())]
    while len(path) < count:
        previous = int(before[subset, path[-1]])
        subset ^= 1 << path[-1]
        path.append(previous)
    return path


def _improved_path(distances: Distances) -> list[int]:
    """Best of greedy paths from ``STARTS`` starts, each improved by reversing and by moving stretches until neither helps."""
    best: list[int] = []
    for start in range(0, len(distances), -(-len(distances) // STARTS)):
        path = _descend(_greedy_path(distances, start), distances)
        if not best or path_length(distances, path) < path_length(distances, best) - _tolerance(distances):
            best = path
    return best


def _greedy_path(distances: Distances, start: int) -> list[int]:
    """Nearest neighbour that is not yet on the path, added at the nearer of the two ends."""
    path, left = [start], [i for i in range(len(distances)) if i != start]
    while left:
        head, tail = distances[path[0], left], distances[path[-1], left]
        if head.min() < tail.min():
            path.insert(0, left.pop(int(head.argmin())))
        else:
            path.append(left.pop(int(tail.argmin())))
    return path


def _descend(path: list[int], distances: Distances) -> list[int]:
    while (better := _reversed_stretch(path, distances) or _moved_stretch(path, distances)) is not None:
        path = better
    return path


def _reversed_stretch(path: list[int], distances: Distances) -> list[int] | None:
    """Best 2-opt move, where one shortens the path: reverse the places i..j."""
    steps = _free_ends(path, distances)
    i, j = np.triu_indices(len(path), 1)
    i, j = i + 1, j + 1
    # Only the two steps at the ends change: distances are symmetric, so the inside keeps its length.
    gain = steps[i - 1, i] + steps[j, j + 1] - steps[i - 1, j] - steps[i, j + 1]
    best = int(gain.argmax())
    if gain[best] <= _tolerance(distances):
        return None
    first, last = int(i[best]) - 1, int(j[best])
    return [*path[:first], *path[first:last][::-1], *path[last:]]


def _moved_stretch(path: list[int], distances: Distances) -> list[int] | None:
    """First stretch of up to three places that shortens the path elsewhere, either way round (or-opt): best place for it."""
    steps, places = _free_ends(path, distances), np.arange(len(path) + 2)
    for length in range(1, min(3, len(path) - 1) + 1):
        for start in range(1, len(path) - length + 2):
            end = start + length - 1
            rest = np.delete(places, slice(start, end + 1))
            saved = steps[start - 1, start] + steps[end, end + 1] - steps[start - 1, end + 1]
            # What cutting the stretch out saves, plus the step that it would be put into.
            without = saved - _tolerance(distances) + steps[rest[:-1], rest[1:]]
            for head, tail in ((start, end), (end, start)):
                gain = without - steps[rest[:-1], head] - steps[tail, rest[1:]]
                place = int(gain.argmax())
                if gain[place] > 0:
                    stretch = range(start, end + 1) if head == start else range(end, start - 1, -1)
                    return [path[k - 1] for k in (*rest[1 : place + 1], *stretch, *rest[place + 1 : -1])]
    return None


def _free_ends(path: list[int], distances: Distances) -> Distances:
    """Distances between places 1..n of a path; places 0 and n + 1 are next to everything, which makes the ends free."""
    steps = np.zeros((len(path) + 2, len(path) + 2))
    steps[1:-1, 1:-1] = distances[np.ix_(path, path)]
    return steps


def _tolerance(distances: Distances) -> float:
    """Gain that rounding cannot make."""
    return 1e-12 * float(distances.max()) * len(distances)

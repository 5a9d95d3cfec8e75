"""Tables of Markdown with estimates and their intervals, for the pages of studies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from vist3a.metrics.direction import more_is_better

Estimates = Mapping[str, Mapping[str, float]]


def by_figure(
    columns: Mapping[str, Estimates], variants: Sequence[str] | None, figures: Sequence[str], signed: bool = False
) -> str:
    """A row per figure, a column per variant (None: all); figures that were not measured have no row."""
    shown = list(columns) if variants is None else list(variants)
    rows = [
        [named(figure), *(cell(columns[column][figure], signed) for column in shown)]
        for figure in figures
        if figure in columns[shown[0]]
    ]
    return table(["", *shown], rows)


def named(figure: str) -> str:
    """The figure with (+) where more is better, (-) where less is."""
    return f"{figure} ({'+' if more_is_better(figure) else '-'})"


def cell(one: Mapping[str, float], signed: bool = False) -> str:
    """Mean and interval; a difference (``signed``) whose interval excludes 0 is bold."""
    if not signed:
        return f"{one['value']:.3g} ({one['low']:.3g} to {one['high']:.3g})"
    text = f"{one['value']:+.3g} ({one['low']:+.3g} to {one['high']:+.3g})"
    return f"**{text}**" if one["low"] > 0 or one["high"] < 0 else text


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Rows under a head."""
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)

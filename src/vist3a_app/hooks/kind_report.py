"""Figures by kind of prompt as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def is_kind_report(report: Any) -> bool:
    """Whether a report has figures by kind, as :func:`vist3a.metrics.by_kind.figures_by_kind` gives them."""
    kinds = report.get("kinds") if isinstance(report, Mapping) else None
    return isinstance(kinds, Mapping) and bool(kinds.get("rows")) and "worst" in kinds


def kind_table(kinds: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The rows by column."""
    rows = kinds["rows"]
    return {column: [row[column] for row in rows] for column in rows[0]}

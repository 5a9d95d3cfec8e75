"""The score report as a table and as curves over the stitch points."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Row = dict[str, str | int | float]


def is_layer_report(report: Any) -> bool:
    """Whether a report names stitch points and the chosen one."""
    return isinstance(report, Mapping) and isinstance(report.get("points"), Mapping) and "chosen" in report


def layer_rows(report: Mapping[str, Any]) -> list[Row]:
    """One row per stitch point, in the order of the network: position, name, and its plain numbers."""
    points: Mapping[str, Mapping[str, Any]] = report["points"]
    # A report read back from disk has sorted keys; ``index`` says the order of the network.
    given = {name: place for place, name in enumerate(points)}
    names = sorted(points, key=lambda name: float(points[name].get("index", given[name])))
    rows = []
    for layer, name in enumerate(names):
        row: Row = {"layer": layer, "point": name, "chosen": "yes" if name == report["chosen"] else ""}
        row |= {k: v for k, v in points[name].items() if k != "index" and _is_number(v)}
        # How far the whole network's outputs are off when it is entered at this point; measured for the best few.
        functional = report.get("functional_error", {}).get(name, {})
        row |= {f"functional_{k}": v for k, v in functional.items() if _is_number(v)}
        rows.append(row)
    return rows


def layer_columns(rows: list[Row]) -> list[str]:
    """Names of the numbers that appear in any row: what the ranking uses, then the functional errors, then the rest."""
    names = dict.fromkeys(key for row in rows for key in row if key not in {"layer", "point", "chosen"})
    rank = {"r2_heldout": 0, "mse_heldout": 1}
    return sorted(names, key=lambda name: rank.get(name, 2 if name.startswith("functional_") else 3))


def layer_table(rows: list[Row]) -> dict[str, list[Any]]:
    """The rows by column; a number that a point does not have is None."""
    columns = ["layer", "point", "chosen", *layer_columns(rows)]
    return {column: [row.get(column) for row in rows] for column in columns}


def stitch_point(folder: Path) -> str | None:
    """The stitch point of a folder with a stitch layer; None for any other path."""
    from safetensors import safe_open

    file = folder / "stitch.safetensors"
    if not file.is_file():
        return None
    with safe_open(file, "np") as opened:
        point: str | None = (opened.metadata() or {}).get("point")
    return point


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)

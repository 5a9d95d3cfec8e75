"""The layer search as one HTML page that needs nothing else: tables and the picture, no script, no network."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

STYLE = """
body { font: 14px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #1e293b; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid #e2e8f0; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
tr.chosen { background: #dcfce7; } tr.incomplete { color: #94a3b8; } img { max-width: 100%; }
.wide { overflow-x: auto; }
"""
COLUMNS = {
    "r2_heldout": "R²",
    "interval": "95 % interval",
    "r2_fit": "R² on fit clips",
    "r2_heldout_conv": "convolution alone",
    "r2_border": "border",
    "r2_centre": "centre",
    "mse_heldout": "MSE",
    "cka": "CKA",
    "ridge": "ridge",
}


def score_page(report: Mapping[str, Any], picture: bytes) -> str:
    """HTML of a score report and its curve (PNG)."""
    points: Mapping[str, Mapping[str, Any]] = report["points"]
    encoded = base64.b64encode(picture).decode()
    lead = report.get("lead")
    ahead = (
        ""
        if lead is None
        else f" Its lead over {escape(lead['over'])} is {_number(lead['r2'])} "
        f"({_number(lead['low'])} to {_number(lead['high'])}), same resampled scenes."
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Layer search</title><style>{STYLE}</style></head><body>
<h1>Layer search</h1>
<p><b>{escape(report["chosen"])}</b>: {escape(report["reason"])}. Held-out R² of {report["scenes"]} scenes, against the mean
activation of the fit scenes; bias per {escape(report["bias"])}.{ahead}</p>
<img alt="Held-out R², MSE and R² per view over the stitch points" src="data:image/png;base64,{encoded}">
<h2>Points</h2>
<p>In network order; grey: not a complete entry, because heads read features from before the point.</p>
{_table(["point", *COLUMNS.values()], _rows(points, report["chosen"]))}
<h2>Outputs of the stitched network, not finetuned</h2>
<p>Distance to the original network's outputs on held-out clips, for the best points.</p>
{_functional(report)}
<h2>R² per view</h2>
{_table(["point", *(str(i) for i in range(len(next(iter(points.values()))["r2_frames"])))], _frames(points, report["chosen"]))}
</body></html>
"""


Row = tuple[str, Sequence[str]]
"""Class of a table row and its cells."""


def _rows(points: Mapping[str, Mapping[str, Any]], chosen: str) -> Iterable[Row]:
    for name, point in points.items():
        shown = {**point, "interval": f"{_number(point['r2_low'])} to {_number(point['r2_high'])}"}
        yield _mark(name, point, chosen), [name, *(_number(shown[key]) for key in COLUMNS)]


def _frames(points: Mapping[str, Mapping[str, Any]], chosen: str) -> Iterable[Row]:
    for name, point in points.items():
        yield _mark(name, point, chosen), [name, *(_number(value) for value in point["r2_frames"])]


def _functional(report: Mapping[str, Any]) -> str:
    measured: Mapping[str, Mapping[str, float]] = report["functional_error"]
    if not measured:
        return "<p>Not measured.</p>"
    columns = list(dict.fromkeys(key for errors in measured.values() for key in errors))
    rows = [
        (_mark(name, report["points"][name], report["chosen"]), [name, *(_number(errors.get(key)) for key in columns)])
        for name, errors in measured.items()
    ]
    return _table(["point", *columns], rows)


def _mark(name: str, point: Mapping[str, Any], chosen: str) -> str:
    return "chosen" if name == chosen else "" if point["complete"] else "incomplete"


def _table(head: Sequence[str], rows: Iterable[Row]) -> str:
    titles = "".join(f"<th>{escape(title)}</th>" for title in head)
    body = "\n".join(
        f'<tr class="{kind}">{"".join(f"<td>{escape(cell)}</td>" for cell in cells)}</tr>' for kind, cells in rows
    )
    return f'<div class="wide"><table><tr>{titles}</tr>\n{body}\n</table></div>'


def _number(value: Any) -> str:
    return "-" if value is None else value if isinstance(value, str) else f"{value:.4g}"

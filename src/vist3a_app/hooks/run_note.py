"""The description of a run: what was chosen and what changed, readable without a click."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from vist3a.metrics.by_kind import worst_lines
from vist3a_app.hooks.flatten import cut
from vist3a_app.hooks.kind_report import is_kind_report
from vist3a_app.hooks.layer_report import is_layer_report, layer_columns, layer_rows

LIMIT = 8000
PAIRS = (("before", "after"), ("first", "last"))
SHOWN_COLUMNS = 6


def run_note(
    reports: Mapping[str, Mapping[str, Any]], run: str = "", experiment: str = "", files: Sequence[str] = ()
) -> str:
    """Markdown of the reports saved so far, by name, with the recorded pictures in it and links to the recorded pages."""
    parts = [_layers(report) for report in reports.values() if is_layer_report(report)]
    parts.append(_changes(reports))
    parts += [_kinds(report["kinds"]) for report in reports.values() if is_kind_report(report)]
    parts.append(_pages(run, experiment, [file for file in files if file.endswith(".html")]))
    # Addresses without a host: the page of MLflow completes them.
    parts += [
        f"![{file}](get-artifact?path={quote(file, safe='')}&run_uuid={run})" for file in files if file.endswith(".png")
    ]
    return cut("\n\n".join(part for part in parts if part), LIMIT)


def recorded_names(path: Path, folder: str) -> list[str]:
    """Names of a recorded file, or of the files of a recorded folder, in the run."""
    if path.is_dir():
        return sorted(f"{folder}/{path.name}/{file.name}" for file in path.iterdir())
    return [f"{folder}/{path.name}"]


def _pages(run: str, experiment: str, pages: Sequence[str]) -> str:
    if not pages:
        return ""
    links = [f"- [{Path(page).stem}](#/experiments/{experiment}/runs/{run}/artifacts/{page})" for page in pages]
    return "\n".join(["### Scenes in 3D", *links])


def _layers(report: Mapping[str, Any]) -> str:
    rows = layer_rows(report)
    columns = layer_columns(rows)[:SHOWN_COLUMNS]
    lines = [
        "### Stitch layer",
        f"**{report['chosen']}**" + (f": {report['reason']}" if report.get("reason") else ""),
        "",
        "| layer | point | " + " | ".join(columns) + " |",
        "|---:|---|" + "---:|" * len(columns),
    ]
    for row in rows:
        mark = "**" if row["chosen"] else ""
        cells = " | ".join(_show(row.get(column)) for column in columns)
        lines.append(f"| {row['layer']} | {mark}{row['point']}{mark} | {cells} |")
    return "\n".join(lines)


def _kinds(kinds: Mapping[str, Any]) -> str:
    return "\n".join(["### Worst kinds of prompts", *worst_lines(kinds)])


def _changes(reports: Mapping[str, Mapping[str, Any]]) -> str:
    changes = [change for name, report in reports.items() for change in before_after(report, name)]
    if not changes:
        return ""
    head = ["### Before and after", "| quantity | before | after |", "|---|---:|---:|"]
    return "\n".join([*head, *(f"| {name} | {_show(a)} | {_show(b)} |" for name, a, b in changes)])


def before_after(report: Mapping[str, Any], name: str) -> Iterator[tuple[str, float, float]]:
    """Pairs of numbers under ``before``/``after`` or ``first``/``last``, as sibling keys or as sibling groups."""
    for early, late in PAIRS:
        if early in report and late in report:
            yield from _pair(report[early], report[late], name)
    for key, value in report.items():
        # Groups named before or after were compared above.
        if isinstance(value, Mapping) and not any(key in pair for pair in PAIRS):
            yield from before_after(value, f"{name}/{key}")
        for early, late in PAIRS:
            # Siblings as loss_first and loss_last.
            if key.endswith(f"_{early}"):
                stem = key.removesuffix(f"_{early}")
                yield from _pair(value, report.get(f"{stem}_{late}"), f"{name}/{stem}")


def _pair(early: Any, late: Any, name: str) -> Iterator[tuple[str, float, float]]:
    if isinstance(early, Mapping) and isinstance(late, Mapping):
        for key in early:
            yield from _pair(early[key], late.get(key), f"{name}/{key}")
    elif isinstance(early, int | float) and isinstance(late, int | float):
        yield name, float(early), float(late)


def _show(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else str(value if value is not None else "")

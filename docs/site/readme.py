"""Writes README's tables between their marks, from ``reports/`` (``make readme``)."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import report_tables

ROOT = Path(__file__).resolve().parents[2]
TABLES: dict[str, Callable[[Path], str]] = {"results": report_tables.summary, "memory": report_tables.memory}


def with_tables(text: str, reports: Path) -> str:
    """``text`` with the table of each mark made anew; ValueError for a mark that is not there once."""
    for name, made in TABLES.items():
        marked = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        table = made(reports)
        text, count = marked.subn(lambda found, table=table: f"{found[1]}{table}{found[2]}", text)
        if count != 1:
            raise ValueError(f"README.md has {count} places marked `<!-- {name} -->`; one is needed")
    return text


def main() -> None:
    """Rewrite README.md."""
    readme = ROOT / "README.md"
    text = with_tables(readme.read_text(encoding="utf-8"), ROOT / "reports")
    written = readme.with_suffix(".new")
    written.write_text(text, encoding="utf-8")
    written.rename(readme)


if __name__ == "__main__":
    main()

"""A SQLite store that was moved or copied with its folder: MLflow wrote down absolute places of files, which are put right.

``python -m vist3a_app.hooks.moved_store mlflow.db mlruns`` does it for a store that is only looked at.
"""

from __future__ import annotations

import re
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, unquote

SCHEME = "file://"
EXPERIMENTS = ("experiments", "artifact_location")
PLACES = (
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
    ("model_versions", "source"),
)
BUSY_SECONDS = 10.0


def follow(database: Path, artifacts: str) -> int:
    """Experiments whose files were to lie in another folder's ``artifacts`` have them beside ``database`` from now on.

    So have the runs and models of then whose files are here; what is not here (a database copied alone) keeps its place. Returns
    how many places changed. Places that do not end with ``artifacts`` are somebody's choice and stay.

    Raises:
        sqlite3.Error: The store cannot be written, or is no store of MLflow.
    """
    here = database.resolve().parent / artifacts
    # Nothing to follow yet, and connecting would make the file.
    if not database.is_file() or not database.stat().st_size:
        return 0
    with closing(sqlite3.connect(database, timeout=BUSY_SECONDS)) as store, store:
        moved = {base for (place,) in _all(store, *EXPERIMENTS) if (base := _base(place, artifacts)) is not None}
        changed = 0
        # MLflow writes places as paths or as addresses: each stays what it is.
        for old in moved - {str(here), here.as_uri()}:
            new = here.as_uri() if old.startswith(SCHEME) else str(here)
            changed += _rewrite(store, *EXPERIMENTS, old, new, only_present=False)
            changed += sum(_rewrite(store, table, column, old, new, only_present=True) for table, column in PLACES)
    return changed


def _all(store: sqlite3.Connection, table: str, column: str) -> list[tuple[str | None]]:
    return store.execute(f"SELECT DISTINCT {column} FROM {table}").fetchall()


def _base(place: str | None, artifacts: str) -> str | None:
    """The part of an experiment's place that ends with ``artifacts``; MLflow's own experiments add a number."""
    if place is None or not place.startswith((SCHEME, "/")):
        return None
    # In addresses special characters are quoted, in paths they are not.
    name = quote(artifacts) if place.startswith(SCHEME) else artifacts
    found = re.fullmatch(rf"(.*/{re.escape(name)})(/\d+)?/?", place)
    return None if found is None else found[1]


def _rewrite(store: sqlite3.Connection, table: str, column: str, old: str, new: str, *, only_present: bool) -> int:
    changed = 0
    for (place,) in _all(store, table, column):
        if place is None or not (place == old or place.startswith(f"{old}/")):
            continue
        there = new + place.removeprefix(old)
        path = Path(unquote(there.removeprefix(SCHEME))) if there.startswith(SCHEME) else Path(there)
        # A place that holds no file here may still be right on the machine that wrote it.
        if not only_present or path.exists():
            store.execute(f"UPDATE {table} SET {column} = ? WHERE {column} = ?", (there, place))
            changed += 1
    return changed


if __name__ == "__main__":
    follow(Path(sys.argv[1]), sys.argv[2])

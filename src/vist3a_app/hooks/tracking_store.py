"""Whether a tracking store can be written: asked once and quickly, where MLflow would try again for minutes without a word."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

SQLITE = "sqlite:///"
BUSY_SECONDS = 10.0
# Requests to a server that is away must not keep a run waiting: the values of MLflow add up to minutes for each of them.
PATIENCE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
FOLDERS_ALLOWED = "MLFLOW_ALLOW_FILE_STORE"


def check_store(uri: str) -> None:
    """An error of one sentence when nothing can be recorded in the store.

    Raises:
        ValueError: It is a folder, which MLflow does not write any more.
        OSError: The SQLite file or the server of the database cannot be reached or not be written.
    """
    scheme = urlsplit(uri).scheme
    if scheme in {"", "file"}:
        if os.environ.get(FOLDERS_ALLOWED, "").lower() != "true":
            raise ValueError(
                f"{uri} is a folder, which MLflow does not write any more; allowed: sqlite:///FILE, http://HOST:PORT"
            )
    elif scheme in {"http", "https"}:
        for name, value in PATIENCE.items():
            os.environ.setdefault(name, value)
    elif uri.startswith(SQLITE):
        _check_sqlite(sqlite_file(uri))
    elif scheme.partition("+")[0] in {"postgresql", "mysql", "mssql"}:
        _check_database(uri)


def sqlite_file(uri: str) -> Path:
    """The file of a SQLite store."""
    return Path(uri.removeprefix(SQLITE).partition("?")[0])


def shown(uri: str) -> str:
    """The store without a password."""
    parts = urlsplit(uri)
    if parts.password is None:
        return uri
    return urlunsplit(parts._replace(netloc=f"{parts.username}:***@{parts.netloc.rpartition('@')[2]}"))


def _check_sqlite(file: Path) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(file, timeout=BUSY_SECONDS, isolation_level=None)) as store:
            store.execute("BEGIN IMMEDIATE")
            # Reads the file, which says whether it is a database, and a page that only a writer may have.
            store.execute("CREATE TABLE vist3a_check (x)")
            store.execute("ROLLBACK")
    except (OSError, sqlite3.Error) as error:
        raise OSError(f"{file} cannot be written ({error})") from error


def _check_database(uri: str) -> None:
    import sqlalchemy

    try:
        engine = sqlalchemy.create_engine(uri)
        with engine.connect():
            pass
        engine.dispose()
    except Exception as error:  # of whatever driver
        raise OSError(
            f"{shown(uri)} cannot be reached ({next(iter(str(error).splitlines()), type(error).__name__)})"
        ) from error

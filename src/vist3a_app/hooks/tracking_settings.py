"""Where runs are recorded, and whether."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from vist3a_app.hooks.tracking_store import SQLITE, sqlite_file

SWITCH = "VIST3A_TRACKING"
URI = "MLFLOW_TRACKING_URI"


class TrackingSettings(BaseModel):
    """Content of ``conf/*/tracking.yml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = True
    uri: str = "sqlite:///mlflow.db"
    artifacts: str = "mlruns"
    experiment: str = "vist3a"
    model: str | None = None

    def with_environment(self) -> TrackingSettings:
        """These settings with the store that MLFLOW_TRACKING_URI names, if it is set: the environment is the more particular."""
        given = os.environ.get(URI)
        return self.model_copy(update={"uri": given}) if given else self

    def absolute_uri(self, root: Path) -> str:
        """The store; a relative SQLite path is taken from ``root``, whatever the working directory."""
        return f"{SQLITE}{self._sqlite_file(root)}" if self.uri.startswith(SQLITE) else self.uri

    def artifact_location(self, root: Path) -> str | None:
        """Where a SQLite store puts files: beside it. A server knows its own place."""
        if not self.uri.startswith(SQLITE):
            return None
        return (self._sqlite_file(root).parent / self.artifacts).resolve().as_uri()

    def moving_database(self, root: Path) -> Path | None:
        """The file of a SQLite store whose artifacts move with it; None for other stores, and for artifacts in a fixed place."""
        # Joined to another folder an absolute path stays as it is, so it does not move along.
        own_place = Path(self.artifacts).is_absolute()
        return self._sqlite_file(root) if self.uri.startswith(SQLITE) and not own_place else None

    def _sqlite_file(self, root: Path) -> Path:
        return kept_root(root) / sqlite_file(self.uri).expanduser()


def kept_root(root: Path) -> Path:
    """``root``, or the project that DVC copied it from: the copies of ``dvc exp run --temp`` and ``--queue`` are deleted."""
    origin = Path(os.environ.get("DVC_ROOT", root))
    return origin if root.resolve().is_relative_to((origin / ".dvc" / "tmp").resolve()) else root


def switched_on() -> bool:
    """What the environment says about tracking; ValueError for a word that is neither on nor off."""
    word = os.environ.get(SWITCH, "on").lower()
    if word not in {"on", "off"}:
        raise ValueError(f"{SWITCH}={word!r}: allowed are on and off")
    return word == "on"


def configured(loader: Any, name: str) -> dict[str, Any]:
    """One part of the configuration; empty when no file has it."""
    from kedro.config import MissingConfigException

    try:
        return dict(loader[name])
    except (MissingConfigException, KeyError):
        return {}

"""Where runs are recorded, and whether."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

SWITCH = "VIST3A_TRACKING"


class TrackingSettings(BaseModel):
    """Content of ``conf/*/tracking.yml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = True
    uri: str = "sqlite:///mlflow.db"
    artifacts: str = "mlruns"
    experiment: str = "vist3a"
    model: str | None = None

    def absolute_uri(self, root: Path) -> str:
        """The store; a relative SQLite path is taken from ``root``, whatever the working directory."""
        prefix = "sqlite:///"
        return prefix + str(kept_root(root) / self.uri.removeprefix(prefix)) if self.uri.startswith(prefix) else self.uri

    def artifact_location(self, root: Path) -> str | None:
        """Where a SQLite store puts files; a server knows its own place."""
        return (kept_root(root) / self.artifacts).resolve().as_uri() if self.uri.startswith("sqlite:") else None


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

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
        return prefix + str(root / self.uri.removeprefix(prefix)) if self.uri.startswith(prefix) else self.uri

    def artifact_location(self, root: Path) -> str | None:
        """Where a SQLite store puts files; a server knows its own place."""
        return (root / self.artifacts).resolve().as_uri() if self.uri.startswith("sqlite:") else None


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

"""A JSON file with sorted keys and plain numbers, written whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset

from vist3a.runtime.atomic import replacing


class JsonReport(AbstractDataset[dict[str, Any], dict[str, Any]]):
    """A report. Not-a-number and infinities are refused, so that a broken metric cannot be published silently."""

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._path = Path(filepath)
        self.metadata = metadata

    def load(self) -> dict[str, Any]:
        report: dict[str, Any] = json.loads(self._path.read_text())
        return report

    def save(self, data: dict[str, Any]) -> None:
        with replacing(self._path) as partial:
            partial.write_text(json.dumps(data, indent=1, sort_keys=True, allow_nan=False) + "\n")

    def _exists(self) -> bool:
        return self._path.is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._path)}

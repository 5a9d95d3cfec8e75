"""A text file, written whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset

from vist3a.runtime.atomic import replacing


class TextFile(AbstractDataset[str, str]):
    """UTF-8 text."""

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._path = Path(filepath)
        self.metadata = metadata

    def load(self) -> str:
        """The text."""
        return self._path.read_text(encoding="utf-8")

    def save(self, data: str) -> None:
        """Write through a temporary file."""
        with replacing(self._path) as partial:
            partial.write_text(data, encoding="utf-8")

    def _exists(self) -> bool:
        return self._path.is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._path)}

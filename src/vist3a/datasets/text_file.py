"""A text file, written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset


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
        self._path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._path.with_name(self._path.name + ".partial")
        partial.write_text(data, encoding="utf-8")
        os.replace(partial, self._path)

    def _exists(self) -> bool:
        return self._path.is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._path)}

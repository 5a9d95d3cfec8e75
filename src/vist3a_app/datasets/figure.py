"""A matplotlib figure as PNG, written whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset
from kedro.io.core import DatasetError

from vist3a.runtime.atomic import replacing


class Figure(AbstractDataset[Any, Any]):
    """Save only. No date goes into the file, so equal figures are equal files."""

    def __init__(self, *, filepath: str, dpi: int = 110, metadata: dict[str, Any] | None = None) -> None:
        self._path, self._dpi = Path(filepath), dpi
        self.metadata = metadata

    def load(self) -> Any:
        raise DatasetError(f"{self._path} is a picture for people; load the report or the table instead")

    def save(self, data: Any) -> None:
        with replacing(self._path) as partial:
            # matplotlib would write its version into the file.
            data.savefig(partial, format="png", dpi=self._dpi, metadata={"Software": None})

    def _exists(self) -> bool:
        return self._path.is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._path)}

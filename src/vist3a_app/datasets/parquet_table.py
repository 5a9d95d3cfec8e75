"""A table in Parquet, written whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.io import AbstractDataset

from vist3a.runtime.atomic import replacing

if TYPE_CHECKING:
    import pandas as pd


class ParquetTable(AbstractDataset["pd.DataFrame", "pd.DataFrame"]):
    """A pandas table without its row index; the same table gives the same bytes."""

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._path = Path(filepath)
        self.metadata = metadata

    def load(self) -> pd.DataFrame:
        import pandas as pd

        return pd.read_parquet(self._path)

    def save(self, data: pd.DataFrame) -> None:
        with replacing(self._path) as partial:
            data.to_parquet(partial, index=False)

    def _exists(self) -> bool:
        return self._path.is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._path)}

"""A folder as a dataset: loaded as its path, saved by a function that fills it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset

from vist3a.runtime.atomic import replacing_folder


class FolderDataset(AbstractDataset[Callable[[Path], None], Path]):
    """Saving calls the given function on a temporary folder beside the target, then swaps it in: the old folder stays until the
    new one is whole. Loading returns the path (which need not exist: a training run may start without checkpoints).
    """

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._path = Path(filepath)
        self.metadata = metadata

    def load(self) -> Path:
        return self._path

    def save(self, data: Callable[[Path], None]) -> None:
        with replacing_folder(self._path) as partial:
            data(partial)

    def _exists(self) -> bool:
        return self._path.is_dir()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._path)}

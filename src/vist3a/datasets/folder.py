"""A folder as a dataset: loaded as its path, saved by a function that fills it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset


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
        partial = self._path.with_name(self._path.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        data(partial)
        old = self._path.with_name(self._path.name + ".old")
        shutil.rmtree(old, ignore_errors=True)
        if self._path.exists():
            os.replace(self._path, old)
        os.replace(partial, self._path)
        shutil.rmtree(old, ignore_errors=True)

    def _exists(self) -> bool:
        return self._path.is_dir()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._path)}

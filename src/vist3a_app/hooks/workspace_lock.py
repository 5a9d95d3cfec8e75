"""One writer per workspace: two runs must not write the same data folder at once, and what a killed one left unfinished goes."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path
from typing import Any

from kedro.framework.hooks import hook_impl

from vist3a.runtime.atomic import remove_leftovers

LOCK_FILE = "data/.run.lock"
# Where runs write.
FOLDERS = ("data", "reports")


class WorkspaceLock:
    """Holds ``data/.run.lock`` from before the first node to the end of the run.

    The operating system drops the lock when its process ends, however it ends, so a killed run leaves nothing to clean up; the
    content of the file only says who holds it.
    """

    def __init__(self) -> None:
        self._descriptor: int | None = None
        self._thread = 0

    @hook_impl(tryfirst=True)
    def before_pipeline_run(self, run_params: dict[str, Any]) -> None:
        """RuntimeError naming the process that is writing here."""
        # A run of this very thread that Ctrl-C ended is over, although Kedro has no hook to say so.
        if self._descriptor is not None and self._thread == threading.get_ident():
            self._release()
        path = Path(run_params["project_path"]) / LOCK_FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(descriptor, 500).decode(errors="replace").strip()
            os.close(descriptor)
            raise RuntimeError(
                f"another run is writing in {path.parent.parent}: {holder or 'unknown process'}; wait for its end or stop it"
            ) from None
        names = ", ".join(run_params.get("pipeline_names") or ["__default__"])
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"pid {os.getpid()}, pipeline {names}\n".encode(), 0)
        self._descriptor, self._thread = descriptor, threading.get_ident()
        for folder in FOLDERS:
            remove_leftovers(Path(run_params["project_path"]) / folder)

    @hook_impl(trylast=True)
    def after_pipeline_run(self) -> None:
        """The workspace is free again."""
        self._release()

    @hook_impl(trylast=True)
    def on_pipeline_error(self) -> None:
        """The workspace is free again."""
        self._release()

    def _release(self) -> None:
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None

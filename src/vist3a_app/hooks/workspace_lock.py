"""One writer per workspace: two runs must not write the same data folder at once, and what a killed one left unfinished goes."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
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
        self._lock: FileLock | None = None
        self._thread = 0

    @hook_impl(tryfirst=True)
    def before_pipeline_run(self, run_params: dict[str, Any]) -> None:
        """RuntimeError naming the process that is writing here."""
        # A run of this very thread that Ctrl-C ended is over, although Kedro has no hook to say so.
        if self._lock is not None and self._thread == threading.get_ident():
            self._release()
        path = Path(run_params["project_path"]) / LOCK_FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        # Kedro may end a run in another thread than the one that began it, which a lock of one thread would not notice.
        lock = FileLock(path, thread_local=False)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            holder = path.read_text(errors="replace").strip()
            raise RuntimeError(
                f"another run is writing in {path.parent.parent}: {holder or 'unknown process'}; wait for its end or stop it"
            ) from None
        names = ", ".join(run_params.get("pipeline_names") or ["__default__"])
        path.write_text(f"pid {os.getpid()}, pipeline {names}\n")
        self._lock, self._thread = lock, threading.get_ident()
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
        if self._lock is not None:
            # Emptied, not deleted: a waiting process may hold the file open, and would lock a file that has no name.
            Path(self._lock.lock_file).write_text("")
            self._lock.release()
            self._lock = None

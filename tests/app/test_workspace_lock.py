"""One writer per workspace, named to everybody who is refused; whatever ends it frees the workspace."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from vist3a_app.hooks.workspace_lock import LOCK_FILE, WorkspaceLock

KILLED = """
import os, sys
from vist3a_app.hooks.workspace_lock import WorkspaceLock
WorkspaceLock().before_pipeline_run({"project_path": sys.argv[1], "pipeline_names": ["align"]})
os._exit(9)
"""


def params(project: Path) -> dict[str, Any]:
    return {"project_path": str(project), "pipeline_names": ["score", "distill"]}


def test_whoever_is_refused_is_told_by_whom_and_leaves_the_name_there(tmp_path: Path) -> None:
    first, others = WorkspaceLock(), [WorkspaceLock(), WorkspaceLock()]
    first.before_pipeline_run(params(tmp_path))
    for other in others:
        with pytest.raises(RuntimeError, match=rf"another run .*: pid {os.getpid()}, pipeline score, distill; wait"):
            other.before_pipeline_run(params(tmp_path))
    first.after_pipeline_run()
    assert (tmp_path / LOCK_FILE).read_text() == ""
    others[0].before_pipeline_run(params(tmp_path))
    others[0].on_pipeline_error()


def test_a_run_that_was_interrupted_in_this_thread_is_over(tmp_path: Path) -> None:
    lock = WorkspaceLock()
    lock.before_pipeline_run(params(tmp_path))
    lock.before_pipeline_run(params(tmp_path))
    with pytest.raises(RuntimeError, match="another run is writing"):
        WorkspaceLock().before_pipeline_run(params(tmp_path))
    lock.after_pipeline_run()


def test_a_killed_process_leaves_nothing_to_clean_up(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False, timeout=300)
    assert done.returncode == 9
    assert "pipeline align" in (tmp_path / LOCK_FILE).read_text()
    lock = WorkspaceLock()
    lock.before_pipeline_run(params(tmp_path))
    lock.after_pipeline_run()

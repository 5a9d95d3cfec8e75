"""Parameters of who does the work (top key ``workers``), shared by the pipelines that work item by item."""

from __future__ import annotations

from vist3a.runtime.workers.settings import WorkerSettings
from vist3a_app.pipelines.strict import Strict


class Workers(Strict, WorkerSettings):
    """Which workers do the work of curate, extract, generate and evaluate. No result depends on it: DVC does not look at it."""

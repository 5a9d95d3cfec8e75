"""One run in the MLflow store, which is imported when a run starts."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil

from vist3a_app.hooks.flatten import cut, safe_name
from vist3a_app.hooks.moved_store import follow
from vist3a_app.hooks.tracking_settings import TrackingSettings
from vist3a_app.hooks.tracking_store import check_store, shown

logger = logging.getLogger(__name__)

MAX_PARAMETER, MAX_TAG = 6000, 8000
PARAMETERS_PER_BATCH, METRICS_PER_BATCH = 100, 1000
# Step curves are kept back this long at most: one transaction per step would cost more than a step.
FLUSH_SECONDS = 5.0
# What a run waits in all for a store that does not answer, before it is left alone.
PATIENCE_SECONDS = 30.0


class MlflowRun:
    """One run in the store. Work never stops because its record fails: the first failure is a warning, later ones are silent."""

    def __init__(self, settings: TrackingSettings, root: Path, name: str, tags: Mapping[str, str]) -> None:
        """Any error says, as one sentence where it is a usual one, why the run cannot be recorded."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        self.uri = settings.absolute_uri(root)
        check_store(self.uri)
        from mlflow import MlflowClient

        for noisy in ("mlflow", "alembic"):
            logging.getLogger(noisy).setLevel(logging.WARNING)
        # Tells every attempt to reach a server.
        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
        self._kept_back: list[Any] = []
        self._flushed = time.monotonic()
        self._lock = threading.Lock()
        self._tables: set[str] = set()
        self._failed = False
        self._ended = False
        self._lost_seconds = 0.0
        self._client = MlflowClient(self.uri)
        # Before anything is looked up: the experiment would still name the former folder.
        database = settings.moving_database(root)
        if database is not None:
            self.quietly(follow, database, settings.artifacts)
        self.experiment = self._find_experiment(settings, root)
        self.quietly(self._close_dead_runs)
        process = {"process.host": socket.gethostname(), "process.id": f"{os.getpid()}/{_started(os.getpid())}"}
        tags = {key: cut(value, MAX_TAG) for key, value in {**tags, **process}.items()}
        run = self._client.create_run(self.experiment, tags=tags, run_name=name)
        self.id: str = run.info.run_id

    def parameters(self, flat: Mapping[str, str]) -> None:
        """Record parameters."""
        from mlflow.entities import Param

        items = [Param(key, cut(value, MAX_PARAMETER)) for key, value in sorted(flat.items())]
        for start in range(0, len(items), PARAMETERS_PER_BATCH):
            self.quietly(self._client.log_batch, self.id, params=items[start : start + PARAMETERS_PER_BATCH])

    def metrics(self, flat: Mapping[str, float], step: int = 0) -> None:
        """Record numbers; they reach the store with the next :meth:`flush` or a few seconds later."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        with self._lock:
            self._kept_back += [Metric(safe_name(key), float(value), now, step) for key, value in flat.items()]
            due = len(self._kept_back) >= METRICS_PER_BATCH or time.monotonic() - self._flushed > FLUSH_SECONDS
        if due:
            self.flush()

    def flush(self) -> None:
        """Send what was kept back."""
        with self._lock:
            # Taken under the lock and sent outside of it: a slow store must not hold up other threads.
            items, self._kept_back = self._kept_back, []
            self._flushed = time.monotonic()
        for start in range(0, len(items), METRICS_PER_BATCH):
            self.quietly(self._client.log_batch, self.id, metrics=items[start : start + METRICS_PER_BATCH])

    def tags(self, tags: Mapping[str, str]) -> None:
        """Record tags."""
        for key, value in tags.items():
            self.quietly(self._client.set_tag, self.id, key, cut(value, MAX_TAG))

    def file(self, path: Path, folder: str) -> None:
        """Record a copy of a file or folder."""
        if path.is_dir():
            self.quietly(self._client.log_artifacts, self.id, str(path), f"{folder}/{path.name}")
        else:
            self.quietly(self._client.log_artifact, self.id, str(path), folder)

    def picture(self, key: str, step: int, picture: Any) -> None:
        """Record bytes [height, width, 3] as the picture ``key`` of a step; the UI shows them in order."""
        self.quietly(self._client.log_image, self.id, picture, key=safe_name(key), step=step)

    def table(self, columns: dict[str, list[Any]], file: str) -> None:
        """Record a table that the UI shows as one, in place of the former of that name."""
        if file not in self._tables:
            self._tables.add(file)
            self.quietly(self._client.log_table, self.id, columns, file)
            return
        # A second log_table would fetch the first, under a progress bar, and add to it.
        import pandas as pd

        self.quietly(self._client.log_text, self.id, pd.DataFrame(columns).to_json(orient="split", index=False), file)

    def end(self, status: str) -> None:
        """Close the run; only the first call counts."""
        if not self._ended:
            self._ended = True
            self.flush()
            self.quietly(self._client.set_terminated, self.id, status)

    def quietly(self, call: Callable[..., Any], *arguments: Any, **options: Any) -> bool:
        """Call the store; a failure is told once. False where it failed, or is not even asked: it has cost too much time."""
        if self._lost_seconds > PATIENCE_SECONDS:
            return False
        start = time.monotonic()
        try:
            call(*arguments, **options)
        except Exception as error:  # any trouble of any store
            self._lost_seconds += time.monotonic() - start
            if not self._failed:
                logger.warning("the record of this run is incomplete: %s: %s", type(error).__name__, first_line(error))
            self._failed = True
            return False
        return True

    def _find_experiment(self, settings: TrackingSettings, root: Path) -> str:
        found = self._client.get_experiment_by_name(settings.experiment)
        if found is None:
            place = settings.artifact_location(root)
            return str(self._client.create_experiment(settings.experiment, artifact_location=place))
        number = str(found.experiment_id)
        if found.lifecycle_stage != "active":
            raise ValueError(
                f"the experiment {settings.experiment!r} was deleted; `MLFLOW_TRACKING_URI={shown(self.uri)} mlflow experiments "
                f"restore --experiment-id {number}` brings it back, tracking.experiment names another"
            )
        return number

    def _close_dead_runs(self) -> None:
        """A run whose process was killed outright could not say so: say it now."""
        query = f"attributes.status = 'RUNNING' and tags.`process.host` = '{socket.gethostname()}'"
        for run in self._client.search_runs([self.experiment], query):
            pid, _, started = run.data.tags.get("process.id", "").partition("/")
            if pid.isdigit() and _started(int(pid)) != started:
                self._client.set_terminated(run.info.run_id, "KILLED")


def first_line(error: BaseException) -> str:
    """What an error says, without the pages that follow in some."""
    return next(iter(str(error).splitlines()), "")


def _started(pid: int) -> str:
    """When a process began, so that a number used again is not taken for the same process; empty when there is none."""
    try:
        return f"{psutil.Process(pid).create_time():.2f}"
    except psutil.Error:
        return ""

"""The record of a run in MLflow. This is the only module that knows MLflow, and it imports it when a run starts."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

import psutil
from kedro.framework.hooks import hook_impl

from vist3a.hooks.flatten import cut, flatten_metrics, flatten_parameters, safe_name
from vist3a.hooks.interrupts import Interrupts
from vist3a.hooks.layer_report import is_layer_report, layer_columns, layer_rows, layer_table
from vist3a.hooks.run_facts import call_facts, code_facts, machine_facts, thread_count
from vist3a.hooks.run_note import run_note
from vist3a.hooks.tracking_settings import SWITCH, TrackingSettings, configured, switched_on
from vist3a.hooks.usage import Usage
from vist3a.models.weights import licences_used
from vist3a.training.step_log import add_sink, remove_sink

logger = logging.getLogger(__name__)

Wrapper = Generator[None, Any, Any]

MAX_PARAMETER, MAX_TAG = 6000, 8000
PARAMETERS_PER_BATCH, METRICS_PER_BATCH = 100, 1000
# Step curves are kept back this long at most: one transaction per step would cost more than a step.
FLUSH_SECONDS = 5.0


class MlflowRun:
    """One run in the store. Work never stops because its record fails: the first failure is a warning, later ones are silent."""

    def __init__(self, settings: TrackingSettings, root: Path, name: str, tags: Mapping[str, str]) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient

        for noisy in ("mlflow", "alembic"):
            logging.getLogger(noisy).setLevel(logging.WARNING)
        self._client = MlflowClient(settings.absolute_uri(root))
        self._experiment = self._find_experiment(settings, root)
        self._close_dead_runs()
        process = {"process.host": socket.gethostname(), "process.id": f"{os.getpid()}/{_started(os.getpid())}"}
        tags = {key: cut(value, MAX_TAG) for key, value in {**tags, **process}.items()}
        run = self._client.create_run(self._experiment, tags=tags, run_name=name)
        self.id: str = run.info.run_id
        self._kept_back: list[Any] = []
        self._flushed = time.monotonic()
        self._lock = threading.Lock()
        self._failed = False
        self._ended = False

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

    def table(self, columns: dict[str, list[Any]], file: str) -> None:
        """Record a table that the UI shows as one."""
        self.quietly(self._client.log_table, self.id, columns, file)

    def end(self, status: str) -> None:
        """Close the run; only the first call counts."""
        if not self._ended:
            self._ended = True
            self.flush()
            self.quietly(self._client.set_terminated, self.id, status)

    def quietly(self, call: Callable[..., Any], *arguments: Any, **options: Any) -> None:
        """Call the store; a failure is told once."""
        try:
            call(*arguments, **options)
        except Exception as error:  # any trouble of any store
            if not self._failed:
                logger.warning("the record of this run is incomplete: %s: %s", type(error).__name__, error)
            self._failed = True

    def _find_experiment(self, settings: TrackingSettings, root: Path) -> str:
        found = self._client.get_experiment_by_name(settings.experiment)
        if found is not None:
            return str(found.experiment_id)
        place = settings.artifact_location(root)
        return str(self._client.create_experiment(settings.experiment, artifact_location=place))

    def _close_dead_runs(self) -> None:
        """A run whose process was killed outright could not say so: say it now."""
        query = f"attributes.status = 'RUNNING' and tags.`process.host` = '{socket.gethostname()}'"
        for run in self._client.search_runs([self._experiment], query):
            pid, _, started = run.data.tags.get("process.id", "").partition("/")
            if pid.isdigit() and _started(int(pid)) != started:
                self._client.set_terminated(run.info.run_id, "KILLED")


class RunRecord:
    """One MLflow run per Kedro run.

    A dataset says in the catalog what becomes of it: ``metadata: {tracking: metrics}`` for reports, ``{tracking: artifact}`` for
    files to look at. Step curves arrive through :mod:`vist3a.training.step_log`.
    """

    def __init__(self) -> None:
        self._settings = TrackingSettings()
        self._root = Path.cwd()
        self._seed: Any = None
        self._forget()

    def _forget(self) -> None:
        self._run: MlflowRun | None = None
        self._interrupts = Interrupts(self._interrupted)
        self._usage: dict[str, Usage] = {}
        self._stages: dict[str, dict[str, float]] = {}
        self._reports: dict[str, Any] = {}
        self._catalog: Any = None

    @hook_impl
    def after_context_created(self, context: Any) -> None:
        """Read and check ``tracking.yml``."""
        self._root = Path(context.project_path)
        self._settings = TrackingSettings(**configured(context.config_loader, "tracking").get("tracking", {}))
        self._seed = configured(context.config_loader, "globals").get("seed")

    @hook_impl(wrapper=True)
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Any, catalog: Any) -> Wrapper:
        """Start the record; what another hook refuses is recorded as failed."""
        self._forget()
        self._catalog = catalog
        if self._settings.enabled and switched_on():
            self._begin(run_params, pipeline)
        try:
            result = yield
        except BaseException as error:
            self._end("FAILED", error)
            raise
        if self._run is not None:
            # Only now is the number settled: another hook sets it.
            self._run.tags({"torch.threads": thread_count()})
        return result

    @hook_impl
    def before_node_run(self, node: Any) -> None:
        """Start the clock."""
        if self._run is not None:
            self._usage[node.name] = Usage()

    @hook_impl
    def after_node_run(self, node: Any) -> None:
        """Record time and memory."""
        self._node_over(node)

    @hook_impl
    def on_node_error(self, node: Any) -> None:
        """Record time and memory of a node that failed, too."""
        self._node_over(node)

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any) -> None:
        """Record what the catalog marks."""
        if self._run is None:
            return
        dataset = self._catalog.get(dataset_name)
        kind = (getattr(dataset, "metadata", None) or {}).get("tracking")
        if kind is None:
            return
        with self._interrupts.shielded():
            path = Path(str(getattr(dataset, "_path", None) or getattr(dataset, "_filepath", dataset_name)))
            if kind == "metrics":
                self._report(self._run, path.stem, data)
            elif kind != "artifact":
                raise ValueError(
                    f"catalog entry {dataset_name!r}: tracking is {kind!r}; allowed are metrics and artifact"
                )
            if path.exists():
                self._run.file(path, dataset.metadata.get("artifact_dir", path.parent.name))

    @hook_impl
    def on_pipeline_error(self, error: Exception) -> None:
        """Close the record."""
        self._end("FAILED", error)

    @hook_impl(wrapper=True)
    def after_pipeline_run(self) -> Wrapper:
        """Close the record after the other hooks."""
        try:
            result = yield
        except BaseException as error:
            self._end("FAILED", error)
            raise
        self._end("FINISHED")
        return result

    def _begin(self, run_params: Mapping[str, Any], pipeline: Any) -> None:
        names = "+".join(run_params.get("pipeline_names") or ["stitch"])
        tags = call_facts(run_params) | code_facts(self._root) | machine_facts()
        tags |= {"mlflow.source.name": tags["kedro.command"], "mlflow.source.type": "PROJECT"}
        if self._seed is not None:
            tags["seed"] = str(self._seed)
        try:
            self._run = MlflowRun(self._settings, self._root, f"{names} {time.strftime('%m-%d %H:%M:%S')}", tags)
        except ImportError as error:
            logger.warning(
                "this run is not recorded, mlflow cannot be imported (%s); %s=off says so on purpose", error, SWITCH
            )
            return
        self._interrupts.install()
        add_sink(self._curve)
        with self._interrupts.shielded():
            flat: dict[str, str] = {}
            for name in sorted(pipeline.inputs()):
                if name.startswith("params:"):
                    flat |= flatten_parameters(self._catalog.load(name), name.removeprefix("params:"))
            self._run.parameters(flat)
        logger.info("recorded as run %s; `make ui` shows it", self._run.id)

    def _end(self, status: str, error: BaseException | None = None) -> None:
        run = self._let_go()
        if run is None:
            return
        with self._interrupts.shielded():
            if error is not None:
                run.tags({"error": f"{type(error).__name__}: {error}"})
            run.end(status)
        self._interrupts.restore()

    def _interrupted(self, signal_name: str) -> None:
        run = self._let_go()
        if run is not None:
            run.tags({"error": f"stopped by {signal_name}"})
            run.end("KILLED")

    def _let_go(self) -> MlflowRun | None:
        run, self._run = self._run, None
        remove_sink(self._curve)
        for usage in self._usage.values():
            usage.stop()
        self._usage = {}
        return run

    def _curve(self, name: str, step: int, scalars: Mapping[str, float]) -> None:
        run = self._run
        if run is not None:
            with self._interrupts.shielded():
                run.metrics({f"{name}/{key}": value for key, value in scalars.items()}, step)

    def _report(self, run: MlflowRun, name: str, report: Any) -> None:
        self._reports[name] = report
        if is_layer_report(report):
            rows = layer_rows(report)
            run.table(layer_table(rows), f"{name}_layers.json")
            run.tags({"stitch.layer": str(report["chosen"]), "stitch.reason": str(report.get("reason", ""))})
            for column in layer_columns(rows):
                for row in rows:
                    if column in row:
                        run.metrics({f"{name}/{column}_by_layer": float(row[column])}, step=int(row["layer"]))
            # As one metric per point and number the table would drown the charts page.
            report = {key: value for key, value in report.items() if key not in {"points", "functional_error"}}
        run.metrics(flatten_metrics(report, name))
        run.flush()
        note = run_note(self._reports)
        if note:
            run.tags({"mlflow.note.content": note})

    def _node_over(self, node: Any) -> None:
        usage = self._usage.pop(node.name, None)
        if usage is None or self._run is None:
            return
        spent = usage.stop()
        pipeline = self._pipeline_of(node.name)
        total = self._stages.setdefault(pipeline, {})
        for key, value in spent.items():
            total[key] = total.get(key, 0.0) + value if key == "seconds" else max(total.get(key, 0.0), value)
        with self._interrupts.shielded():
            self._run.tags({f"licence.{safe_name(name)}": licence for name, licence in licences_used().items()})
            self._run.metrics({f"stage/{node.name}/{key}": value for key, value in spent.items()})
            self._run.metrics({f"pipeline/{pipeline}/{key}": value for key, value in total.items()})
            self._run.flush()

    def _pipeline_of(self, node_name: str) -> str:
        """The smallest registered pipeline with this node: sums like ``stitch`` are not what one wants to know."""
        from kedro.framework.project import pipelines

        sizes = {
            name: len(found.nodes) for name, found in pipelines.items() if node_name in {n.name for n in found.nodes}
        }
        return min(sizes, key=lambda name: (sizes[name], name), default="none")


def _started(pid: int) -> str:
    """When a process began, so that a number used again is not taken for the same process; empty when there is none."""
    try:
        return f"{psutil.Process(pid).create_time():.2f}"
    except psutil.Error:
        return ""

"""What of a run is recorded in MLflow, and when."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kedro.framework.hooks import hook_impl

from vist3a.runtime.picture_log import add_picture_sink, remove_picture_sink
from vist3a.runtime.step_log import add_sink, remove_sink
from vist3a.runtime.workers import accounts
from vist3a.runtime.workers.accounts import Account
from vist3a.weights.public import forget_licences, licences_used
from vist3a_app.hooks.flatten import flatten_metrics, flatten_parameters, safe_name
from vist3a_app.hooks.generator_model import record_generator
from vist3a_app.hooks.interrupts import Interrupts
from vist3a_app.hooks.kind_report import is_kind_report, kind_table
from vist3a_app.hooks.layer_report import is_layer_report, layer_columns, layer_rows, layer_table, stitch_point
from vist3a_app.hooks.mlflow_run import MlflowRun, first_line
from vist3a_app.hooks.run_facts import call_facts, code_facts, machine_facts, thread_count
from vist3a_app.hooks.run_note import recorded_names, run_note
from vist3a_app.hooks.tracking_settings import SWITCH, URI, TrackingSettings, configured, switched_on
from vist3a_app.hooks.tracking_store import shown
from vist3a_app.hooks.usage import Usage
from vist3a_app.hooks.worker_table import worker_table

logger = logging.getLogger(__name__)

Wrapper = Generator[None, Any, Any]
REPORTS = {"08_reporting": "reports"}
"""What the folder of reports is called in the record, published or not."""


class RunRecord:
    """One MLflow run per Kedro run.

    A dataset says in the catalog what becomes of it: ``metadata: {tracking: metrics}`` for reports, ``{tracking: artifact}``
    for files to look at, ``{tracking: model}`` for the adapter of a generator, which becomes a registered model. Step curves
    arrive through :mod:`vist3a.runtime.step_log`, pictures of them through :mod:`vist3a.runtime.picture_log`.
    """

    def __init__(self) -> None:
        self._settings = TrackingSettings()
        self._root = Path.cwd()
        self._seed: Any = None
        self._named_by = "tracking.yml"
        self._forget()

    def _forget(self) -> None:
        self._run: MlflowRun | None = None
        self._interrupts = Interrupts(self._interrupted)
        self._usage: dict[str, Usage] = {}
        self._stages: dict[str, dict[str, float]] = {}
        self._reports: dict[str, Any] = {}
        self._files: list[str] = []
        self._stitch_point = ""
        self._catalog: Any = None
        self._workers: list[tuple[str, Account]] = []
        self._counting = threading.Lock()

    @hook_impl
    def after_context_created(self, context: Any) -> None:
        """Read and check ``tracking.yml``; the environment may name another store."""
        self._root = Path(context.project_path)
        given = TrackingSettings(**configured(context.config_loader, "tracking").get("tracking", {}))
        self._settings = given.with_environment()
        self._named_by = "tracking.yml" if self._settings is given else URI
        self._seed = configured(context.config_loader, "globals").get("seed")

    @hook_impl(wrapper=True)
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Any, catalog: Any) -> Wrapper:
        """Start the record; what another hook refuses is recorded as failed."""
        forget_licences()
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
    def after_dataset_loaded(self, data: Any) -> None:
        """A run that works with a stitched network says at which layer, so that runs can be compared by it."""
        if self._run is not None and isinstance(data, Path):
            point = stitch_point(data)
            if point is not None:
                self._stitched_at(self._run, point)

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
            # Our datasets call it _path, those of Kedro _filepath.
            path = Path(str(getattr(dataset, "_path", None) or getattr(dataset, "_filepath", dataset_name)))
            if kind == "metrics":
                self._report(self._run, path.stem, data)
            elif kind == "model":
                self._model(self._run)
                return
            elif kind != "artifact":
                raise ValueError(
                    f"catalog entry {dataset_name!r}: tracking is {kind!r}; allowed are metrics, artifact and model"
                )
            if path.exists():
                folder = dataset.metadata.get("artifact_dir", REPORTS.get(path.parent.name, path.parent.name))
                self._run.file(path, folder)
                self._files += recorded_names(path, folder)
                self._describe(self._run)

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
        except Exception as error:  # any trouble of any store
            logger.warning(
                "this run is not recorded: %s (store: %s, from %s); %s=off says so on purpose",
                first_line(error) or type(error).__name__,
                shown(self._settings.absolute_uri(self._root)),
                self._named_by,
                SWITCH,
            )
            return
        # After the run exists: a handler before it would have nothing to close.
        self._interrupts.install()
        add_sink(self._curve)
        add_picture_sink(self._picture)
        accounts.add_sink(self._worked)
        with self._interrupts.shielded():
            flat: dict[str, str] = {}
            for name in sorted(pipeline.inputs()):
                if name.startswith("params:"):
                    flat |= flatten_parameters(self._catalog.load(name), name.removeprefix("params:"))
            self._run.parameters(flat)
        logger.info(
            "recorded as run %s in %s (%s); `make ui` shows it", self._run.id, shown(self._run.uri), self._named_by
        )

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
        # First, so that no curve or signal finds a run that is being closed.
        run, self._run = self._run, None
        remove_sink(self._curve)
        remove_picture_sink(self._picture)
        accounts.remove_sink(self._worked)
        for usage in self._usage.values():
            usage.stop()
        self._usage = {}
        return run

    def _curve(self, name: str, step: int, scalars: Mapping[str, float]) -> None:
        run = self._run
        if run is not None:
            with self._interrupts.shielded():
                run.metrics({f"{name}/{key}": value for key, value in scalars.items()}, step)

    def _picture(self, name: str, step: int, picture: Any) -> None:
        run = self._run
        if run is not None:
            with self._interrupts.shielded():
                run.picture(name, step, picture)

    def _worked(self, title: str, workers: Sequence[Account]) -> None:
        """One table for the run, and its machines as a tag, so that runs can be found by them."""
        run = self._run
        if run is not None:
            # Nodes may end in several threads at once.
            with self._counting, self._interrupts.shielded():
                self._workers += [(title, worker) for worker in workers]
                run.table(worker_table(self._workers), "workers.json")
                run.tags({"workers.hosts": ", ".join(sorted({worker.place.host for _, worker in self._workers}))})

    def _report(self, run: MlflowRun, name: str, report: Any) -> None:
        self._reports[name] = report
        if is_layer_report(report):
            rows = layer_rows(report)
            run.table(layer_table(rows), f"{name}_layers.json")
            run.tags({"stitch.reason": str(report.get("reason", ""))})
            self._stitched_at(run, str(report["chosen"]))
            for column in layer_columns(rows):
                for row in rows:
                    if column in row:
                        # The step of these curves is the layer, so that the store draws them over the network.
                        run.metrics({f"{name}/{column}_by_layer": float(row[column])}, step=int(row["layer"]))
            # As one metric per point and number the table would drown the charts page.
            report = {key: value for key, value in report.items() if key not in {"points", "functional_error"}}
        if is_kind_report(report):
            run.table(kind_table(report["kinds"]), f"{name}_kinds.json")
            report = {key: value for key, value in report.items() if key != "kinds"}
        run.metrics(flatten_metrics(report, name))
        run.flush()
        self._describe(run)

    def _describe(self, run: MlflowRun) -> None:
        note = run_note(self._reports, run.id, run.experiment, self._files)
        if note:
            run.tags({"mlflow.note.content": note})

    def _stitched_at(self, run: MlflowRun, point: str) -> None:
        """As a tag to search by, and as a parameter, which the comparison of runs can put on an axis."""
        if not self._stitch_point:
            self._stitch_point = point
            run.tags({"stitch.layer": point})
            run.parameters({"stitch.layer": point})

    def _model(self, run: MlflowRun) -> None:
        name = self._settings.model
        if name is None:
            return
        groups = {group: self._catalog.load(f"params:{group}") for group in ("generate", "networks")}
        parameters = {
            key: dict(getattr(group, "model_dump", lambda group=group: group)()) for key, group in groups.items()
        }
        folders = {name: self._catalog.load(name) for name in ("stitched_decoder", "aligned_generator")}
        if run.quietly(record_generator, run.uri, run.id, name, parameters, folders):
            logger.info("the generator is registered as models:/%s/latest", name)

    def _node_over(self, node: Any) -> None:
        usage = self._usage.pop(node.name, None)
        if usage is None or self._run is None:
            return
        spent = usage.stop()
        pipeline = self._pipeline_of(node.name)
        total = self._stages.setdefault(pipeline, {})
        for key, value in spent.items():
            # Seconds of a pipeline's nodes add up, peaks of memory do not.
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

"""A run that torchrun started in several processes: one of them writes, the others compute along."""

from __future__ import annotations

from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Pipeline

from vist3a.runtime.launch import started

TRAINED_TOGETHER = {"align_generator"}
"""Nodes that share their work among processes; any other would do all of it in each."""


class SeveralProcesses:
    """Refuses other nodes; what the processes behind the first one return stays in their memory."""

    @hook_impl(tryfirst=True)
    def before_pipeline_run(self, pipeline: Pipeline, catalog: DataCatalog, run_params: dict[str, Any]) -> None:
        """ValueError naming what can be run by several processes."""
        processes = started()
        if processes.count == 1:
            return
        if {node.name for node in pipeline.nodes} - TRAINED_TOGETHER:
            names = ", ".join(run_params.get("pipeline_names") or ["__default__"])
            raise ValueError(
                f"pipeline {names} in {processes.count} processes; allowed for torchrun: --pipelines=align"
            )
        if not processes.first:
            # What the first process writes stands for all of them.
            for name in pipeline.all_outputs():
                catalog[name] = MemoryDataset()

"""Pipelines by name. ``stitch`` is the whole chain on existing networks; ``pretrain`` makes the embedded networks."""

from __future__ import annotations

from kedro.framework.project import find_pipelines
from kedro.pipeline import Pipeline

CHAIN = ("curate", "extract", "score", "distill", "align", "evaluate")


def register_pipelines() -> dict[str, Pipeline]:
    """All pipelines; the default is the chain."""
    pipelines = dict(find_pipelines(raise_errors=True))
    parts = [pipelines[name] for name in CHAIN if name in pipelines]
    pipelines["stitch"] = sum(parts, start=Pipeline([]))
    pipelines["__default__"] = pipelines["stitch"]
    return pipelines

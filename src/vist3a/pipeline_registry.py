"""Pipelines by name. ``stitch`` is the whole chain on existing networks; ``pretrain`` makes the embedded networks.

Every folder of ``vist3a.pipelines`` is one pipeline. Kedro's ``find_pipelines`` is not used: asked for ``stitch`` it looks for a
folder of that name and refuses, because it does not know named sums.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from kedro.pipeline import Pipeline

from vist3a import pipelines

CHAIN = ("curate", "extract", "score", "distill", "align", "evaluate")


def register_pipelines() -> dict[str, Pipeline]:
    """All pipelines; the default is the chain."""
    names = sorted(module.name for module in iter_modules(pipelines.__path__) if module.ispkg)
    found: dict[str, Pipeline] = {
        name: import_module(f"{pipelines.__name__}.{name}").create_pipeline() for name in names
    }
    stitch = sum((found[name] for name in CHAIN if name in found), start=Pipeline([]))
    return {**found, "stitch": stitch, "__default__": stitch}

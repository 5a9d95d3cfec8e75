"""Pipelines by name. ``stitch`` is the whole chain on existing networks; ``pretrain`` makes the embedded networks.

Every folder of ``vist3a_app.pipelines`` is one pipeline (``create_pipeline`` in its ``pipeline.py``), and so is every folder of a
package that an entry point of the group ``vist3a.pipelines`` names (the laboratory's, or your own). Kedro's ``find_pipelines`` is
not used: asked for ``stitch`` it looks for a folder of that name and refuses, because it does not know named sums.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from pkgutil import iter_modules

from kedro.pipeline import Pipeline

CHAIN = ("curate", "extract", "score", "distill", "align", "evaluate")
GROUP = "vist3a.pipelines"


def pipeline_packages() -> list[str]:
    """Packages whose folders are pipelines."""
    return sorted({"vist3a_app.pipelines", *(entry.value for entry in entry_points(group=GROUP))})


def register_pipelines() -> dict[str, Pipeline]:
    """All pipelines; the default is the chain."""
    found: dict[str, Pipeline] = {}
    for package in pipeline_packages():
        # Packages alone: modules beside them are what several pipelines share.
        names = sorted(module.name for module in iter_modules(import_module(package).__path__) if module.ispkg)
        found |= {name: import_module(f"{package}.{name}.pipeline").create_pipeline() for name in names}
    stitch = sum((found[name] for name in CHAIN if name in found), start=Pipeline([]))
    return {**found, "stitch": stitch, "__default__": stitch}

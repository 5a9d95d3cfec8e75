"""Refuses parameters that no pipeline reads: a misspelt key must not silently leave the default in place."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

from kedro.framework.hooks import hook_impl


class ParameterKeys:
    """Compares the top-level parameter keys with the ``params:`` inputs of all registered pipelines."""

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Any, catalog: Any) -> None:
        """ValueError naming the unknown key and the nearest known one."""
        from kedro.framework.project import pipelines

        known = {
            name.removeprefix("params:").split(".")[0]
            for registered in pipelines.values()
            for name in registered.inputs()
            if name.startswith("params:")
        }
        given = catalog.load("parameters") if "parameters" in catalog else {}
        for key in given:
            if key not in known:
                near = get_close_matches(key, known, 1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ValueError(f"unknown parameter group {key!r}; allowed: {', '.join(sorted(known))}{hint}")

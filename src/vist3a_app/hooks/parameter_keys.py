"""Refuses parameters that no pipeline reads: a misspelt key must not silently leave the default in place."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

from kedro.framework.hooks import hook_impl

from vist3a_app.configuration import LAYERS


class ParameterKeys:
    """Compares the top-level parameter keys with the ``params:`` inputs of all registered pipelines.

    Inside a group the typed parameters refuse unknown keys; a misspelt group name would reach nobody.
    """

    @hook_impl
    def before_pipeline_run(self, catalog: Any) -> None:
        """ValueError naming the unknown group and the nearest known one."""
        from kedro.framework.project import pipelines

        known = known_groups(pipelines)
        for key in catalog.load("parameters") if "parameters" in catalog else {}:
            # Of all pipelines, as the files configure those that do not run, too.
            if key not in known and key not in LAYERS:
                near = get_close_matches(key, known, 1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ValueError(f"unknown parameter group {key!r}; allowed: {', '.join(sorted(known))}{hint}")


def known_groups(pipelines: Any) -> set[str]:
    """Top-level parameter keys that some pipeline reads."""
    return {
        name.removeprefix("params:").split(".")[0]
        for pipeline in pipelines.values()
        for name in pipeline.inputs()
        if name.startswith("params:")
    }

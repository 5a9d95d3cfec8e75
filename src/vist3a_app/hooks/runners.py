"""Which of Kedro's runners fit."""

from __future__ import annotations

from typing import Any

from kedro.framework.hooks import hook_impl


class Runners:
    """Refuses the one whose processes know nothing of this one's hooks."""

    @hook_impl(tryfirst=True)
    def before_pipeline_run(self, run_params: dict[str, Any]) -> None:
        """ValueError naming the others."""
        if "ParallelRunner" in str(run_params.get("runner")):
            raise ValueError(
                "--runner=ParallelRunner: its processes would neither be recorded nor compute like this one; allowed: "
                "SequentialRunner, ThreadRunner, vist3a_app.ray.RayRunner"
            )

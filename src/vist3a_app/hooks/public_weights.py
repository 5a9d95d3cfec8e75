"""Makes ``weights.yml`` known to what loads networks."""

from __future__ import annotations

from typing import Any

from kedro.framework.hooks import hook_impl

from vist3a.weights.public import parse, parse_generators, parse_rewards, register
from vist3a_app.hooks.tracking_settings import configured


class KnownWeights:
    """Reads and checks ``weights.yml`` before each run."""

    @hook_impl
    def after_context_created(self, context: Any) -> None:
        """Read, check and register the entries."""
        files = configured(context.config_loader, "weights")
        register(
            parse(files.get("weights", {})),
            parse_generators(files.get("generators", {})),
            parse_rewards(files.get("rewards", {})),
        )

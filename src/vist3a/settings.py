"""Kedro project settings."""

from typing import Any

from vist3a.hooks.parameter_keys import ParameterKeys
from vist3a.hooks.run_record import RunRecord

HOOKS = (ParameterKeys(), RunRecord())
DISABLE_HOOKS_FOR_PLUGINS = ("kedro_mlflow", "kedro-telemetry")

CONFIG_LOADER_ARGS: dict[str, Any] = {
    "base_env": "base",
    "default_run_env": "local",
    # An overlay changes the keys it names and keeps their siblings.
    "merge_strategy": {"parameters": "soft", "globals": "soft"},
    "config_patterns": {
        "catalog": ["catalog*/**"],
        "parameters": ["parameters*/**"],
        "tracking": ["tracking*"],
    },
}

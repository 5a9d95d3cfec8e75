"""Kedro project settings."""

from typing import Any

from vist3a.runtime.launch import started
from vist3a_app.configuration import LayeredConfigLoader
from vist3a_app.hooks.determinism import Determinism
from vist3a_app.hooks.frame_counts import FrameCounts
from vist3a_app.hooks.parameter_keys import ParameterKeys
from vist3a_app.hooks.public_pairing import PublicPairing
from vist3a_app.hooks.run_record import RunRecord
from vist3a_app.hooks.runners import Runners
from vist3a_app.hooks.several_processes import SeveralProcesses
from vist3a_app.hooks.workspace_lock import WorkspaceLock

HOOKS: tuple[Any, ...] = (Runners(), SeveralProcesses(), Determinism(), ParameterKeys(), FrameCounts(), PublicPairing())
# One process records and holds the workspace for all.
if started().first:
    HOOKS += (RunRecord(), WorkspaceLock())
CONFIG_LOADER_CLASS = LayeredConfigLoader
# kedro-viz would write its own record into the project at every run.
DISABLE_HOOKS_FOR_PLUGINS = ("kedro_mlflow", "kedro-telemetry", "kedro-viz")

CONFIG_LOADER_ARGS: dict[str, Any] = {
    "base_env": "base",
    "default_run_env": "local",
    # An overlay changes the keys it names and keeps their siblings.
    "merge_strategy": {"parameters": "soft", "globals": "soft", "weights": "soft"},
    "config_patterns": {
        "globals": ["globals*"],
        "catalog": ["catalog*/**"],
        "parameters": ["parameters*/**"],
        "tracking": ["tracking*"],
        "determinism": ["determinism*"],
        "weights": ["weights*"],
    },
}

"""The same command on the same machine gives the same numbers."""

from __future__ import annotations

import os
from typing import Any, Literal

from kedro.framework.hooks import hook_impl
from pydantic import BaseModel, ConfigDict, Field

from vist3a_app.hooks.tracking_settings import configured


class DeterminismSettings(BaseModel):
    """Content of ``conf/*/determinism.yml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    threads: int | None = Field(None, gt=0)
    algorithms: bool = True
    matmul: Literal["highest", "high", "medium"] = "highest"


def make_deterministic(settings: DeterminismSettings) -> None:
    """Fix the number of CPU threads and prefer deterministic algorithms, for the rest of the process."""
    # Read when cuBLAS is first used, long after torch is imported.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    import torch

    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    elif "OMP_NUM_THREADS" not in os.environ:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        torch.set_num_threads(min(4, cores))
    torch.set_float32_matmul_precision(settings.matmul)
    # As torch.use_deterministic_algorithms, which would load the compiler: seconds of every run that compiles nothing.
    os.environ["TORCHINDUCTOR_DETERMINISTIC"] = str(int(settings.algorithms))
    torch.set_deterministic_debug_mode("warn" if settings.algorithms else "default")
    # Filling fresh memory finds bugs but costs time; no result may depend on it anyway.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False


class Determinism:
    """Applies ``determinism.yml`` before the first node."""

    def __init__(self) -> None:
        self._settings = DeterminismSettings()

    @hook_impl
    def after_context_created(self, context: Any) -> None:
        """Read and check the settings."""
        self._settings = DeterminismSettings(**configured(context.config_loader, "determinism").get("determinism", {}))

    @hook_impl
    def before_pipeline_run(self) -> None:
        """Set up torch."""
        make_deterministic(self._settings)

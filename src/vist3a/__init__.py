"""vist3a: text-to-3D by stitching a multi-view reconstruction network to a video generator."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

# Spinning OpenMP threads slow convolutions tenfold on a busy machine. The OpenMP library reads this once, when torch is first
# imported, so it has to stand before any module of ours; a value of the user's is kept.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """``vist3a.load`` is imported when it is asked for: the command line needs none of it."""
    if name != "load":
        raise AttributeError(f"module 'vist3a' has no attribute {name!r}")
    return import_module("vist3a_app.project").load

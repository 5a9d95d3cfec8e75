"""Training checkpoints: one file, written whole or not at all, read without executing anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from vist3a.runtime.atomic import replacing


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values to ``path`` through a temporary file."""
    with replacing(path) as partial:
        torch.save(state, partial)


def load_checkpoint(path: Path, device: torch.device) -> dict[str, Any]:
    """Read a checkpoint with the restricted loader."""
    state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    return state

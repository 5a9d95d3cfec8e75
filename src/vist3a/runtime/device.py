"""Where work runs."""

from __future__ import annotations

import torch


def resolve_device(name: str) -> torch.device:
    """``auto`` is CUDA when there is one, else the CPU; ValueError when CUDA is asked for and missing."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(
            f"device: {name!r} was asked for, but this machine has no usable CUDA device; allowed here: auto, cpu"
        )
    return torch.device(name)

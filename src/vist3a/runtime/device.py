"""Where work runs."""

from __future__ import annotations

import torch


def resolve_device(name: str) -> torch.device:
    """``auto`` is CUDA when there is one, else the CPU.

    Raises:
        ValueError: The name is none of a device, or of a CUDA device that this machine has not.

    Example:
        >>> resolve_device("cpu")
        device(type='cpu')
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(
            f"device: {name!r} was asked for, but this machine has no usable CUDA device; allowed here: auto, cpu"
        )
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device: {name!r}; allowed: auto, cpu, cuda, or one of several as cuda:1") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise ValueError(f"device: {name!r}, but this machine has {count}; allowed here: cuda:0 to cuda:{count - 1}")
    return device

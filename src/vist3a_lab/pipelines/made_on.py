"""Which device a study's figures are of, and what its page says about that."""

from __future__ import annotations

from vist3a.runtime.device import resolve_device

CPU = "the CPU"


def made_on(device: str) -> str:
    """A device as it is named in parameters, in the words of a page.

    Example:
        >>> made_on("cpu")
        'the CPU'
    """
    resolved = resolve_device(device)
    if resolved.type == "cpu":
        return CPU
    import torch

    return torch.cuda.get_device_name(resolved)


def weight_of(device: str, pipeline: str) -> str:
    """What figures of a device (in the words of :func:`made_on`) are good for."""
    if device == CPU:
        return (
            "This is the quick check: few scenes, short trainings, and so few decisions. What holds is decided with the settings "
            f"of `--env=gpu` (`conf/gpu/parameters/{pipeline}.yml`)."
        )
    return "These are the settings with which it is decided what holds; those of `conf/base` are a quick check on two cores."

"""Saving, loading and checking of state dicts."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"


def write_folder(folder: Path, config: Mapping[str, Any], state: Mapping[str, Tensor]) -> None:
    """Write ``config.json`` and ``model.safetensors``; each file appears under its name only when complete."""
    folder.mkdir(parents=True, exist_ok=True)
    weights, text = folder / f"{WEIGHTS_FILE}.partial", folder / f"{CONFIG_FILE}.partial"
    save_file({key: value.detach().cpu().contiguous() for key, value in state.items()}, weights)
    text.write_text(json.dumps(config, indent=2) + "\n")
    os.replace(weights, folder / WEIGHTS_FILE)
    os.replace(text, folder / CONFIG_FILE)


def read_folder(folder: Path, dtype: torch.dtype) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and weights (floating-point ones in ``dtype``) of a folder written by :func:`write_folder`."""
    config: dict[str, Any] = json.loads((folder / CONFIG_FILE).read_text())
    state = load_file(folder / WEIGHTS_FILE)
    return config, {key: value.to(dtype) if value.is_floating_point() else value for key, value in state.items()}


def load_strictly(module: nn.Module, state: Mapping[str, Tensor], *, assign: bool = False) -> None:
    """Load a state dict that must fit exactly; ValueError listing missing, unexpected and misshapen keys."""
    own = module.state_dict()
    missing = [key for key in own if key not in state]
    unexpected = [key for key in state if key not in own]
    misshapen = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(value.shape)}"
        for key, value in own.items()
        if key in state and state[key].shape != value.shape
    ]
    problems = [
        f"{len(keys)} {title}: {', '.join(keys[:8])}{', ...' if len(keys) > 8 else ''}"
        for title, keys in (("missing", missing), ("unexpected", unexpected), ("of wrong shape", misshapen))
        if keys
    ]
    if problems:
        raise ValueError(f"state dict does not fit {type(module).__name__}: " + "; ".join(problems))
    module.load_state_dict(dict(state), strict=True, assign=assign)

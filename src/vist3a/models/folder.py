"""A network as a folder: config.json and model.safetensors, written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

CONFIG, WEIGHTS = "config.json", "model.safetensors"


def save_folder(
    folder: Path, config: Mapping[str, Any], state: Mapping[str, Tensor], dtype: torch.dtype | None = None
) -> None:
    """Write config and weights; floating-point tensors are stored as ``dtype`` when given."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        key: value.detach()
        .to("cpu", dtype if dtype is not None and value.is_floating_point() else value.dtype)
        .contiguous()
        for key, value in state.items()
    }
    partial = folder / f"{WEIGHTS}.partial"
    save_file(tensors, partial)
    os.replace(partial, folder / WEIGHTS)
    partial = folder / f"{CONFIG}.partial"
    partial.write_text(json.dumps(dict(config), indent=1, sort_keys=True) + "\n")
    os.replace(partial, folder / CONFIG)


def load_config(folder: Path) -> dict[str, Any]:
    """The folder's config.json; FileNotFoundError naming the folder and what to do."""
    path = folder / CONFIG
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} holds no {CONFIG}: fetch the weights (dvc pull) or train them (pretrain pipeline)"
        )
    config: dict[str, Any] = json.loads(path.read_text())
    return config


def load_state(folder: Path, module: nn.Module, dtype: torch.dtype = torch.float32) -> None:
    """Load model.safetensors strictly into ``module`` after casting it to ``dtype``; ValueError listing differences."""
    state = load_file(folder / WEIGHTS)
    wanted = module.state_dict()
    missing, unexpected = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    wrong = [
        f"{k}: {tuple(state[k].shape)} in the file, {tuple(v.shape)} in the network"
        for k, v in wanted.items()
        if k in state and state[k].shape != v.shape
    ]
    if missing or unexpected or wrong:
        raise ValueError(
            f"{folder / WEIGHTS} does not fit: missing {missing[:8]}, unexpected {unexpected[:8]}, other shapes {wrong[:8]}"
        )
    module.to(dtype)
    module.load_state_dict(state)

"""Files of weights: written whole or not at all, read without executing anything, loaded only where they fit."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vist3a.runtime.atomic import replacing
from vist3a.weights.damaged_files import file_damage

CONFIG, WEIGHTS = "config.json", "model.safetensors"
PICKLED = (".pt", ".pth")
SHOWN_KEYS = 8


def save_folder(
    folder: Path, config: Mapping[str, Any], state: Mapping[str, Tensor], dtype: torch.dtype | None = None
) -> None:
    """Write ``config.json`` and ``model.safetensors``; floating-point tensors are stored as ``dtype`` when given."""
    tensors = {
        key: value.detach()
        .to("cpu", dtype if dtype is not None and value.is_floating_point() else value.dtype)
        .contiguous()
        for key, value in state.items()
    }
    # Neither file takes its name before both are written.
    with replacing(folder / CONFIG) as text, replacing(folder / WEIGHTS) as weights:
        save_file(tensors, weights)
        text.write_text(json.dumps(dict(config), indent=1, sort_keys=True) + "\n")


def read_config(folder: Path) -> dict[str, Any]:
    """The folder's config.json; an error naming the folder and what to do."""
    path = folder / CONFIG
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} holds no {CONFIG}: fetch the weights (dvc pull) or train them (pretrain pipeline)"
        )
    try:
        config: dict[str, Any] = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}); allowed: what save_pretrained wrote") from error
    return config


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors by key, on the CPU: of a safetensors file, or of a file by ``torch.save``, itself or its entry ``model``.

    ValueError for every other content; what else a pickle asks for is refused unexecuted.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: no file with weights is there")
    if path.suffix in PICKLED:
        return _unpickled(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"{path}: {path.suffix or 'no suffix'}; allowed: .safetensors, {', '.join(PICKLED)}")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(
            f"{path}: truncated, or no safetensors file ({file_damage(path) or error}); allowed: the whole file as published"
        ) from error


def load_strictly(
    module: nn.Module, state: Mapping[str, Tensor], origin: str | Path = "state dict", *, assign: bool = False
) -> None:
    """Load a state dict that must fit exactly; ValueError saying what of ``origin`` is missing, too much or misshapen."""
    own = module.state_dict()
    missing = [key for key in own if key not in state]
    unexpected = [key for key in state if key not in own]
    misshapen = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(value.shape)}"
        for key, value in own.items()
        if key in state and state[key].shape != value.shape
    ]
    problems = [
        f"{len(keys)} {title}: {', '.join(keys[:SHOWN_KEYS])}{', ...' if len(keys) > SHOWN_KEYS else ''}"
        for title, keys in (("missing", missing), ("unexpected", unexpected), ("of wrong shape", misshapen))
        if keys
    ]
    if problems:
        raise ValueError(
            f"{origin} does not fit {type(module).__name__}: {'; '.join(problems)}; allowed: exactly its {len(own)} tensors"
        )
    module.load_state_dict(dict(state), strict=True, assign=assign)


def read_pickled(path: Path) -> Any:
    """Tensors and plain values of a file by ``torch.save``, on the CPU; ValueError for one that names code, which never runs."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: no file with weights is there")
    # Published training states hold the command line next to the tensors: an inert record.
    with torch.serialization.safe_globals([argparse.Namespace]):
        try:
            # Looked through before it is loaded, so that the error can name what was found.
            code = torch.serialization.get_unsafe_globals_in_checkpoint(path)
            content = None if code else torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except Exception as error:  # a damaged file may fail anywhere
            raise ValueError(
                f"{path}: truncated, or not written by torch.save in its present format ({type(error).__name__}); "
                "allowed: the whole file as published"
            ) from error
    if code:
        raise ValueError(
            f"{path} names code in its pickle: {', '.join(sorted(code)[:SHOWN_KEYS])} (nothing was executed); allowed: "
            "tensors and plain values"
        )
    return content


def _unpickled(path: Path) -> dict[str, Tensor]:
    content = read_pickled(path)
    for state in (content, content.get("model") if isinstance(content, dict) else None):
        if isinstance(state, dict) and state and all(isinstance(value, Tensor) for value in state.values()):
            return {str(key): value for key, value in state.items()}
    found = f"a dict of {', '.join(map(str, [*content][:SHOWN_KEYS]))}" if isinstance(content, dict) else type(content)
    raise ValueError(f"{path} holds {found}; allowed: tensors by key, or these as the entry 'model'")

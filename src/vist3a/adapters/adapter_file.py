"""Files of LoRA weights: names as PEFT, diffusers, kohya and the original code of Wan write them, brought to PEFT's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from vist3a.adapters.original_names import by_original_name

# What PEFT puts before the names of the network that it wraps, and what diffusers puts there in files of a whole pipeline.
PREFIX = "base_model.model."
PREFIXES = (PREFIX, "transformer.", "diffusion_model.")
KOHYA, DOWN, UP, ALPHA = "lora_unet_", ".lora_down.weight", ".lora_up.weight", ".alpha"


@dataclass(frozen=True)
class StoredAdapter:
    """Weights by PEFT's names without a prefix, and the strengths (``lora_alpha``) that the file states for single layers."""

    weights: Mapping[str, Tensor]
    alphas: Mapping[str, float] = field(default_factory=dict)


def read_adapter(file: Path, modules: Sequence[str]) -> StoredAdapter:
    """Weights of an adapter of a network with these ``modules``.

    Raises:
        ValueError: The file is damaged or of a layout that is not read.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = load_file(file)
    except SafetensorError as error:
        raise ValueError(f"{file} is no whole safetensors file ({error})") from error
    if any(key.startswith(KOHYA) for key in state):
        return _from_kohya(file, state, modules)
    weights = {_without_prefix(key): value for key, value in state.items()}
    originals = by_original_name(modules)
    if any(_layer(key)[0] in originals for key in weights):
        return _from_original(file, weights, originals)
    # kohya's endings without kohya's prefix belong to a third layout.
    if not any(".lora_" in key for key in weights) or any(DOWN in key or UP in key for key in weights):
        example = next(iter(state), "nothing")
        raise ValueError(
            f"{file}: another layout of adapters (it holds {example}); allowed: PEFT's (NAME.lora_A.weight)"
        )
    return StoredAdapter(weights)


def _layer(key: str) -> tuple[str, str]:
    """Layer and ending (``.lora_A.weight``) of a name; an empty ending for what is no weight of an adapter."""
    for ending in (".lora_A.weight", ".lora_B.weight", DOWN, UP, ALPHA):
        if key.endswith(ending):
            return key.removesuffix(ending), ending
    return key, ""


def _from_original(file: Path, state: Mapping[str, Tensor], originals: Mapping[str, str]) -> StoredAdapter:
    """Names of the original code with either ending; a layer may state its own alpha."""
    weights, alphas = dict[str, Tensor](), dict[str, float]()
    for key, value in state.items():
        layer, ending = _layer(key)
        if layer not in originals or not ending:
            raise ValueError(
                f"{file}: {key} is no LoRA weight of a layer of this denoiser; allowed: adapters that change its attention and "
                "feed-forward layers by LoRA alone"
            )
        if ending == ALPHA:
            alphas[originals[layer]] = float(value)
            continue
        down = ending in (DOWN, ".lora_A.weight")
        weights[f"{originals[layer]}.{'lora_A' if down else 'lora_B'}.weight"] = value
    return StoredAdapter(weights, alphas)


def _without_prefix(key: str) -> str:
    return next((key.removeprefix(prefix) for prefix in PREFIXES if key.startswith(prefix)), key)


def _from_kohya(file: Path, state: Mapping[str, Tensor], modules: Sequence[str]) -> StoredAdapter:
    """Names of kohya: ``lora_unet_`` and the module with underscores for dots; a layer may state its own alpha."""
    dotted = {**by_original_name(modules), **{name: name for name in modules}}
    names = {name.replace(".", "_"): module for name, module in dotted.items()}
    weights, alphas = dict[str, Tensor](), dict[str, float]()
    for key, value in state.items():
        # The flattened module name has no dot of its own.
        flat, dot, ending = key.removeprefix(KOHYA).partition(".")
        if flat not in names or dot + ending not in (DOWN, UP, ALPHA):
            raise ValueError(
                f"{file}: another layout of adapters or another network (kohya's {key} names no layer of this denoiser); "
                "allowed: PEFT's layout (NAME.lora_A.weight)"
            )
        name = names[flat]
        if dot + ending == ALPHA:
            alphas[name] = float(value)
            continue
        weights[f"{name}.{'lora_A' if dot + ending == DOWN else 'lora_B'}.weight"] = value
    return StoredAdapter(weights, alphas)

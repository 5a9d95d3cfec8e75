"""Low-rank adapters of the denoiser, stored alone in PEFT's layout: what VIST3A publishes as ``lora_ema`` is read too."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

ADAPTER = "align"
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
# What PEFT puts before the names of the network that it wraps.
PREFIX = "base_model.model."


def add_lora(denoiser: Any, rank: int, alpha: float, targets: Sequence[str], seed: int) -> None:
    """Add a trainable adapter to the attention projections, drawn from ``seed``; everything else is frozen."""
    import torch
    from peft import LoraConfig

    denoiser.requires_grad_(False)
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(targets), init_lora_weights="gaussian")
    with torch.random.fork_rng(devices=[]):  # peft draws from the global generator
        torch.manual_seed(seed)
        denoiser.add_adapter(config, ADAPTER)


def save_lora(denoiser: Any, folder: Path) -> None:
    """Write the adapter: ``adapter_config.json`` and ``adapter_model.safetensors``."""
    from peft import get_peft_model_state_dict

    state = get_peft_model_state_dict(denoiser, adapter_name=ADAPTER)
    tensors = {f"{PREFIX}{key}": value.detach().cpu().contiguous() for key, value in state.items()}
    settings = denoiser.peft_config[ADAPTER].to_dict()
    # Sets come out in any order; the file should not.
    plain = {key: sorted(value) if isinstance(value, set) else value for key, value in settings.items()}
    folder.mkdir(parents=True, exist_ok=True)
    weights, text = folder / f"{WEIGHTS}.partial", folder / f"{CONFIG}.partial"
    save_file(tensors, weights)
    text.write_text(json.dumps(plain, indent=1, sort_keys=True, default=str) + "\n")
    os.replace(weights, folder / WEIGHTS)
    os.replace(text, folder / CONFIG)


def load_lora(denoiser: Any, folder: Path) -> None:
    """Load and activate an adapter of PEFT's layout, frozen.

    FileNotFoundError when there is none, ValueError when it is of another network.
    """
    from peft import LoraConfig, set_peft_model_state_dict

    missing = [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{folder} holds no {' and no '.join(missing)}; run the align pipeline first, or name a folder of a PEFT adapter"
        )
    settings = json.loads((folder / CONFIG).read_text())
    if settings.get("peft_type") != "LORA":
        raise ValueError(f"{folder / CONFIG}: peft_type is {settings.get('peft_type')!r}; allowed: LORA")
    state = {key.removeprefix(PREFIX): value for key, value in load_file(folder / WEIGHTS).items()}
    targets = sorted({key.split(".lora_")[0] for key in state if ".lora_" in key})
    own = {name for name, _ in denoiser.named_modules()}
    if strangers := [name for name in targets if name not in own]:
        raise ValueError(
            f"{folder / WEIGHTS}: the adapter is of another network (for example {strangers[0]}, which this denoiser lacks)"
        )
    config = LoraConfig(
        r=settings["r"],
        lora_alpha=settings["lora_alpha"],
        target_modules=targets,
        use_rslora=bool(settings.get("use_rslora")),
    )
    denoiser.add_adapter(config, ADAPTER)
    result = set_peft_model_state_dict(denoiser, state, adapter_name=ADAPTER)
    if result.unexpected_keys:
        raise ValueError(f"{folder / WEIGHTS}: unexpected {result.unexpected_keys[0]}; allowed: LoRA weights alone")
    denoiser.requires_grad_(False)


def merge_lora(denoiser: Any) -> None:
    """Add the active adapter to the weights and drop it: the same network without the adapter's extra work."""
    denoiser.fuse_lora()
    denoiser.unload_lora()


@contextmanager
def merged_lora(denoiser: Any) -> Iterator[None]:
    """Within the block the adapter is added to the weights, for passes that need no gradient; then these have their old bits.

    Saves the adapter's extra work in every layer, at the price of a second copy of the adapted weights. Of weights that are
    shared out over processes, each process changes its part. Without an adapter the block changes nothing.
    """
    import torch
    from peft.tuners.lora import LoraLayer
    from torch.distributed.tensor import DTensor, distribute_tensor

    def own(weight: Any, like: Any) -> Any:
        """This process's part of ``weight``, shared out as ``like`` is."""
        if not isinstance(like, DTensor):
            return weight
        if not isinstance(weight, DTensor):
            weight = distribute_tensor(weight, like.device_mesh, like.placements, src_data_rank=None)
        return weight.to_local()

    layers = [layer for layer in denoiser.modules() if isinstance(layer, LoraLayer)]
    weights = [layer.get_base_layer().weight.detach() for layer in layers]
    before = [own(weight, weight).clone() for weight in weights]
    try:
        with torch.no_grad():
            for layer, weight in zip(layers, weights, strict=True):
                own(weight, weight).add_(own(layer.get_delta_weight(ADAPTER), weight))
                layer.merged_adapters.append(ADAPTER)
        yield
    finally:
        # Subtracting what was added would leave the rounding of both.
        for layer, weight, old in zip(layers, weights, before, strict=True):
            own(weight, weight).copy_(old)
            layer.merged_adapters.clear()

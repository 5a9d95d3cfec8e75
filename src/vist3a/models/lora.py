"""Low-rank adapters of the denoiser (peft through diffusers), stored as the adapter alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

ADAPTER = "align"
FILE = "pytorch_lora_weights.safetensors"


def add_lora(transformer: Any, rank: int, alpha: float, targets: Sequence[str], seed: int) -> None:
    """Add a trainable adapter to the attention projections, drawn from ``seed``; everything else is frozen."""
    import torch
    from peft import LoraConfig

    transformer.requires_grad_(False)
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(targets), init_lora_weights="gaussian")
    with torch.random.fork_rng(devices=[]):  # peft draws from the global generator
        torch.manual_seed(seed)
        transformer.add_adapter(config, ADAPTER)


def save_lora(transformer: Any, folder: Path) -> None:
    """Write the adapter."""
    transformer.save_lora_adapter(folder, adapter_name=ADAPTER, weight_name=FILE)


def load_lora(transformer: Any, folder: Path) -> None:
    """Load and activate an adapter written by :func:`save_lora`; FileNotFoundError when there is none."""
    if not (folder / FILE).is_file():
        raise FileNotFoundError(f"{folder} holds no {FILE}; run the align pipeline first")
    transformer.load_lora_adapter(
        str(folder), weight_name=FILE, adapter_name=ADAPTER, prefix=None, use_safetensors=True, local_files_only=True
    )
    transformer.requires_grad_(False)

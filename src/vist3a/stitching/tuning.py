"""Which parameters of a stitched decoder are trained, and how just those are stored and put back."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from vist3a.adapters.lora import widen_adapters
from vist3a.stitching.decoder import StitchedDecoder
from vist3a.stitching.store import load_fit, save_fit

Tuning = Literal["full", "lora"]
TRAINED = "trained.safetensors"


def prepare(decoder: StitchedDecoder, tuning: Tuning, rank: int, alpha: float) -> None:
    """Set what requires gradients: the stitch layer and special tokens always, and the tail of the network.

    ``full`` trains the tail wholly, ``lora`` through low-rank adapters on every linear layer and square-kernel 2D
    convolution (VIST3A B.1).
    """
    decoder.requires_grad_(False)
    # Blocks before the entry never run: they must neither train nor be stored.
    decoder.network.drop_before(decoder.point)
    if tuning == "full":
        decoder.network.requires_grad_(True)
    else:
        from peft import LoraConfig, inject_adapter_in_model

        targets = [
            name
            for name, module in decoder.network.named_modules()
            if isinstance(module, nn.Linear)
            or (isinstance(module, nn.Conv2d) and module.kernel_size[0] == module.kernel_size[1])
        ]
        # Biases of the wrapped layers train with them, as in the published recipe.
        with torch.random.fork_rng(devices=[]):  # peft draws from the global generator; the draw is fixed, not tuned
            torch.manual_seed(0)
            inject_adapter_in_model(
                LoraConfig(r=rank, lora_alpha=alpha, target_modules=targets, bias="lora_only"), decoder.network
            )
        widen_adapters(decoder.network)
        for name, parameter in decoder.network.named_parameters():
            parameter.requires_grad_("lora_" in name or name.endswith("base_layer.bias"))
    decoder.layer.requires_grad_(True)
    decoder.special_tokens.requires_grad_(True)


def trained_parameters(decoder: StitchedDecoder) -> dict[str, torch.Tensor]:
    """Copies of what is trained, in host memory."""
    return {name: p.detach().to("cpu", copy=True) for name, p in decoder.named_parameters() if p.requires_grad}


def put_back(decoder: StitchedDecoder, values: dict[str, torch.Tensor]) -> None:
    """Give what is trained the values of :func:`trained_parameters`."""
    own = dict(decoder.named_parameters())
    with torch.no_grad():
        for name, value in values.items():
            own[name].copy_(value)


def save_trained(folder: Path, decoder: StitchedDecoder, stitch_layer: Path, dtype: torch.dtype | None = None) -> None:
    """Write the trained parameters only, beside a copy of the stitch layer they started from."""
    fit, spec = load_fit(stitch_layer)
    save_fit(folder, fit, spec)
    tensors = {
        name: p.detach().to("cpu", dtype or p.dtype).contiguous()
        for name, p in decoder.named_parameters()
        if p.requires_grad
    }
    save_file(tensors, folder / TRAINED)


def load_trained(folder: Path, decoder: StitchedDecoder) -> None:
    """Put stored parameters into a decoder prepared in the same way; ValueError when they do not fit."""
    tensors = load_file(folder / TRAINED)
    own = {name: p for name, p in decoder.named_parameters() if p.requires_grad}
    if tensors.keys() != own.keys():
        different = sorted(tensors.keys() ^ own.keys())
        raise ValueError(
            f"{folder / TRAINED}: made with other settings of distill.tuning or another network (for example {different[0]})"
        )
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(tensors[name])

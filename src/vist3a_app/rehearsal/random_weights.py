"""Published generators with random weights: built, counted and written, and nothing is downloaded."""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from vist3a.generators.published import Part

# Published padded lengths are theirs; tokens of the stand-in tokenizer are words of any kind.
_WORDS = ("a", "red", "blue", "ball", "cube", "on", "the", "floor")


def build(part: Part, dtype: torch.dtype, device: torch.device | str, seed: int = 0) -> Any:
    """The network (or scheduler) of a part with random weights that depend on ``seed``, made where it will be."""
    import diffusers
    import transformers

    library: Any = {"diffusers": diffusers, "transformers": transformers}[part.library]
    network_class = getattr(library, part.network)
    if part.network.endswith("Scheduler"):
        return network_class(**part.sizes)
    before = torch.get_default_dtype()
    torch.manual_seed(seed)
    # Made in the wanted type at once: in float32 first, the largest might not fit.
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            if part.library == "diffusers":
                network = network_class(**part.sizes)
            else:
                network = network_class(network_class.config_class(**part.sizes))
    finally:
        torch.set_default_dtype(before)
    # As from_pretrained does: some layers stay in float32 (those of transformers beside float16 only).
    asked = part.library == "diffusers" or dtype == torch.float16
    kept = set(getattr(network, "_keep_in_fp32_modules", None) or ()) if asked else set()
    for name, parameter in network.named_parameters():
        wanted = torch.float32 if kept & set(name.split(".")) else dtype
        if parameter.dtype != wanted:
            parameter.data = parameter.data.to(wanted)
    return network.requires_grad_(False).eval()


def parameter_counts(parts: Mapping[str, Part]) -> dict[str, int]:
    """Parameters of every network by the name of its folder; none is made."""
    networks = {name: build(part, torch.float32, "meta") for name, part in parts.items() if name != "scheduler"}
    return {name: sum(p.numel() for p in network.parameters()) for name, network in networks.items()}


def write_random(
    parts: Mapping[str, Part],
    folder: Path,
    dtype: torch.dtype,
    device: torch.device | str,
    only: Sequence[str] | None = None,
) -> None:
    """Write a repository in diffusers' layout with random weights, one network after the other; ``only`` some of its folders."""
    for name, part in parts.items():
        if only is not None and name not in only:
            continue
        network = build(part, dtype, device)
        network.save_pretrained(folder / name)
        if name.startswith("text_encoder"):
            _tokenizer().save_pretrained(folder / name.replace("text_encoder", "tokenizer"))
        # Before the next one is built, which may be as large.
        del network
        gc.collect()


def _tokenizer() -> Any:
    from vist3a.generators.word_tokenizer import as_transformers, build_tokenizer

    return as_transformers(build_tokenizer(_WORDS), 512)

"""Folders of random weights at published size, in the layouts that the loaders read."""

from __future__ import annotations

import gc
from pathlib import Path

import torch

from vist3a.pairing import build_reconstruction, published_configs
from vist3a_app.rehearsal.published_sizes import PUBLISHED_SIZES, parameter_counts, write_random

BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


def write_generator(name: str, folder: Path, dtype: torch.dtype, device: torch.device) -> str:
    """The repository of a published generator; a note on its size. ValueError for a name that is not known."""
    if name not in PUBLISHED_SIZES:
        raise ValueError(f"rehearsal of generator {name!r}; allowed: {', '.join(PUBLISHED_SIZES)}, or a folder")
    write_random(PUBLISHED_SIZES[name], folder, dtype, device)
    return _size_of(folder)


def write_reconstruction(config: str, folder: Path, device: torch.device) -> str:
    """A published 3D network, in our layout; a note on its size."""
    known = published_configs()
    if config not in known:
        raise ValueError(f"rehearsal of 3D network {config!r}; allowed: {', '.join(known)}, or a folder")
    network = build_reconstruction(*known[config], device)
    network.save_pretrained(folder)
    del network
    gc.collect()
    return _size_of(folder)


def download_bytes(name: str, stored: str) -> int:
    """What the repository of a published generator takes, counted from its parameters and the numeric type of its files."""
    return sum(parameter_counts(PUBLISHED_SIZES[name]).values()) * BYTES[stored]


def reconstruction_bytes(config: str) -> int:
    """What a published 3D network takes in float32."""
    network = build_reconstruction(*published_configs()[config], torch.device("meta"))
    return 4 * sum(p.numel() for p in network.parameters())


def _size_of(folder: Path) -> str:
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return f"{size / 1e9:.1f} GB written"

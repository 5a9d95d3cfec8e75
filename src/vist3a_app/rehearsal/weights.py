"""Folders of random weights at published size, in the layouts that the loaders read."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch

from vist3a.pairing import build_reconstruction, published_generators, published_networks
from vist3a_app.rehearsal.random_weights import parameter_counts, write_random

BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
Sizes = TypeVar("Sizes")


def write_generator(family: str, name: str, folder: Path, dtype: torch.dtype, device: torch.device) -> str:
    """The repository of a published generator; a note on its size. ValueError for a name that its family does not state."""
    write_random(_stated(published_generators(family), "generator", family, name), folder, dtype, device)
    return _size_of(folder)


def write_reconstruction(family: str, config: str, folder: Path, device: torch.device) -> str:
    """A published 3D network, in our layout; a note on its size. ValueError for a name that its family does not state."""
    network = build_reconstruction(family, _stated(published_networks(family), "3D network", family, config), device)
    network.save_pretrained(folder)
    # The next network is as large: both at once may not fit.
    del network
    gc.collect()
    return _size_of(folder)


def download_bytes(family: str, name: str, stored: str) -> int:
    """What the repository of a published generator takes, counted from its parameters and the numeric type of its files."""
    return sum(parameter_counts(published_generators(family)[name]).values()) * BYTES[stored]


def reconstruction_bytes(family: str, config: str) -> int:
    """What a published 3D network takes in float32."""
    # On the meta device parameters have shapes and take no memory.
    network = build_reconstruction(family, published_networks(family)[config], torch.device("meta"))
    return 4 * sum(p.numel() for p in network.parameters())


def _stated(published: Mapping[str, Sizes], kind: str, family: str, name: str) -> Sizes:
    if name not in published:
        allowed = ", ".join([*published, "a folder"]) if published else "a folder (its class states no published sizes)"
        raise ValueError(f"rehearsal of {kind} {name!r} of the family {family}; allowed: {allowed}")
    return published[name]


def _size_of(folder: Path) -> str:
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return f"{size / 1e9:.1f} GB written"

"""The one place that turns a family name and a source into a network. Everything else sees the contracts only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from vist3a.models.generators.base import VideoGenerator
from vist3a.models.reconstruction.base import ReconstructionModel

GENERATORS = ("wan",)
RECONSTRUCTION_NETWORKS = ("vggt", "anysplat")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_generator(
    family: str,
    source: str,
    *,
    revision: str | None,
    parts: Sequence[str],
    dtype: str,
    max_text_tokens: int,
    device: torch.device,
) -> VideoGenerator:
    """Frozen generator with the named parts (``vae``, ``text``, ``denoiser``) from a folder or hub id."""
    if family == "wan":
        from vist3a.models.generators.wan import WanGenerator

        return WanGenerator.from_pretrained(
            source,
            revision=revision,
            parts=parts,
            dtype=DTYPES[dtype],
            device=device,
            max_text_tokens=max_text_tokens,
        )
    raise ValueError(f"networks.generator.family: {family!r}; allowed: {', '.join(GENERATORS)}")


def load_reconstruction(family: str, source: str, *, dtype: str, device: torch.device) -> ReconstructionModel:
    """Frozen reconstruction network from a folder with config.json and model.safetensors."""
    if family not in RECONSTRUCTION_NETWORKS:
        allowed = ", ".join(RECONSTRUCTION_NETWORKS)
        raise ValueError(f"networks.reconstruction.family: {family!r}; allowed: {allowed}")
    if not (Path(source) / "config.json").is_file():
        raise FileNotFoundError(
            f"networks.reconstruction.source: {source} holds no config.json; fetch the weights with `dvc pull`, or train "
            "them with `kedro run --pipeline=pretrain`"
        )
    from vist3a.models.reconstruction import VGGT, AnySplat

    network = (AnySplat if family == "anysplat" else VGGT).from_pretrained(Path(source), DTYPES[dtype])
    return network.requires_grad_(False).eval().to(device)

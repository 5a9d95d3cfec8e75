"""Sizes and conventions of the published CLIP-like scorers, by the ``config`` that ``weights.yml`` names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ClipSizes:
    """Two transformer towers and how an image comes to the size of one of them.

    ``resize``: ``crop`` scales the shorter side to ``image_size`` and takes the middle, ``squash`` scales both sides. ``layout``
    is the naming of the published state dict. ``activation`` of the feed-forward layers, as transformers calls it.
    """

    image_size: int = 224
    patch_size: int = 14
    image_width: int = 1280
    image_layers: int = 32
    image_heads: int = 16
    text_width: int = 1024
    text_layers: int = 24
    text_heads: int = 16
    dimension: int = 1024
    vocabulary: int = 49408
    max_tokens: int = 77
    activation: Literal["gelu", "quick_gelu"] = "gelu"
    resize: Literal["crop", "squash"] = "crop"
    layout: Literal["open_clip", "transformers"] = "open_clip"


CLIP_SIZES = {
    "hps-v2.1": ClipSizes(),
    "pickscore-v1": ClipSizes(layout="transformers"),
    "dfn5b-clip-h-14-378": ClipSizes(image_size=378, activation="quick_gelu", resize="squash"),
}
"""HPSv2.1 (Wu et al., 2023) and PickScore (Kirstain et al., 2023) are finetuned from the same CLIP ViT-H/14 (LAION-2B); DFN-5B
CLIP (Fang et al., 2023) has that shape with another activation and image size."""

"""Sizes of published video generators: what each folder of their repositories is built with, without a download.

A family states them on its class (:attr:`vist3a.generators.network_parts.NetworkParts.published`), so that what has to be known
before a download (parameters, memory, time: a rehearsal) can be asked of any generator, one of another package too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Part:
    """One folder of a generator's repository.

    Args:
        library: ``diffusers`` or ``transformers``.
        network: Class of the network or scheduler there.
        sizes: Arguments that differ from the class's own defaults.

    Example:
        >>> Part("diffusers", "WanTransformer3DModel", {"text_dim": 4096})  # Wan 2.1, 14B
    """

    library: str
    network: str
    sizes: Mapping[str, Any] = field(default_factory=dict)


PublishedSizes = Mapping[str, Mapping[str, Part]]
"""Parts by folder, by the name in ``weights.yml`` or the hub id that the repository has."""
T5_XXL = Part(
    "transformers",
    "T5EncoderModel",
    {
        "vocab_size": 32128,
        "d_model": 4096,
        "d_kv": 64,
        "d_ff": 10240,
        "num_layers": 24,
        "num_heads": 64,
        "feed_forward_proj": "gated-gelu",
    },
)
"""Text encoder of several families."""

"""Names of layers in the code that Wan was published with, by which many of its adapters name them, beside diffusers' names."""

from __future__ import annotations

from collections.abc import Sequence

# By the ends of names, which stand behind ``blocks.N.``: diffusers' and the original ones.
_ENDS = {
    f"{ours}.{layer}": f"{theirs}.{letter}"
    for ours, theirs in (("attn1", "self_attn"), ("attn2", "cross_attn"))
    for layer, letter in (("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("to_out.0", "o"))
} | {"ffn.net.0.proj": "ffn.0", "ffn.net.2": "ffn.2"}


def by_original_name(modules: Sequence[str]) -> dict[str, str]:
    """Modules of a denoiser by their original names; none where it has no layers of these names.

    Example:
        >>> by_original_name(["blocks.0.attn1.to_q", "proj_out"])
        {'blocks.0.self_attn.q': 'blocks.0.attn1.to_q'}
    """
    found = {}
    for name in modules:
        for ours, theirs in _ENDS.items():
            if name.endswith(f".{ours}"):
                found[f"{name.removesuffix(ours)}{theirs}"] = name
    return found

"""State dicts of CLIP models in open_clip's naming, renamed for the class of transformers.

The networks themselves are transformers'. The package ``open_clip_torch`` reads such files without renaming, but needs
torchvision, which is built for one version of torch and replaces it (torch 2.13.0 by 2.14.1; ``vist3a.scorers.lpips`` says more).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

SINGLE = {
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "logit_scale": "logit_scale",
}
NORMS = {
    # The misspelling is that of transformers.
    "visual.ln_pre": "vision_model.pre_layrnorm",
    "visual.ln_post": "vision_model.post_layernorm",
    "ln_final": "text_model.final_layer_norm",
}
PROJECTIONS = {"visual.proj": "visual_projection.weight", "text_projection": "text_projection.weight"}
"""Stored as input x output."""
IN_BLOCK = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
BLOCK = re.compile(r"(visual\.)?transformer\.resblocks\.(\d+)\.(.+)")
UNUSED = ("attn_mask",)


def from_open_clip(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same weights by the keys of ``transformers.CLIPModel``; keys not known stay as they are (loading names them)."""
    renamed: dict[str, Tensor] = {}
    for key, value in state.items():
        # The mask of the text tower is made anew by transformers.
        if key in UNUSED:
            continue
        block = BLOCK.fullmatch(key)
        module, _, leaf = key.rpartition(".")
        if key in SINGLE:
            renamed[SINGLE[key]] = value
        elif key in PROJECTIONS:
            renamed[PROJECTIONS[key]] = value.T
        elif module in NORMS:
            renamed[f"{NORMS[module]}.{leaf}"] = value
        elif block:
            renamed |= _block(block, value)
        else:
            renamed[key] = value
    return renamed


def _block(match: re.Match[str], value: Tensor) -> dict[str, Tensor]:
    tower = "vision_model" if match[1] else "text_model"
    prefix, inner = f"{tower}.encoder.layers.{match[2]}", match[3]
    if inner in ("attn.in_proj_weight", "attn.in_proj_bias"):
        # One matrix for queries, keys and values there, three here.
        leaf = inner.rpartition("_")[2]
        parts = value.chunk(3)
        return {f"{prefix}.self_attn.{n}_proj.{leaf}": p for n, p in zip("qkv", parts, strict=True)}
    module, _, leaf = inner.rpartition(".")
    return {f"{prefix}.{IN_BLOCK.get(module, module)}.{leaf}": value}

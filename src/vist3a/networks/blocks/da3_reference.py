"""Choice of the reference view of Depth Anything 3: the one that gets the reference camera token.

Strategies: ``first``; ``middle`` (views // 2); ``saddle_balanced``: the view that is most average among its scene's views in
three ways (see :func:`choose_reference`). Fewer than three views: always the first. The public network moves the
reference to the front and back; attention between views does not know their order, so here nothing is moved.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

ReferenceStrategy = Literal["saddle_balanced", "first", "middle"]

SMALLEST_CHOICE = 3
"""Views from which on there is a choice."""


def reads_tokens(strategy: ReferenceStrategy) -> bool:
    """Whether the choice depends on what the views show."""
    return strategy == "saddle_balanced"


@torch.no_grad()
def choose_reference(
    class_tokens: Float[Tensor, "batch views channels"], strategy: ReferenceStrategy
) -> Int[Tensor, " batch"]:
    """Index of the reference view of each scene, from the class tokens that enter the last block before the alternation.

    ``saddle_balanced``: mean cosine similarity to the other views, norm, and variance of the normalised token, each
    scaled to 0..1 over the views; the view nearest to 0.5 in their sum of distances wins, the first one of equals.
    """
    batch, views, _ = class_tokens.shape
    if views < SMALLEST_CHOICE or not reads_tokens(strategy):
        index = views // 2 if strategy == "middle" and views >= SMALLEST_CHOICE else 0
        return torch.full((batch,), index, dtype=torch.long, device=class_tokens.device)
    tokens = class_tokens.to(torch.promote_types(class_tokens.dtype, torch.float32))
    unit = F.normalize(tokens, dim=-1)
    # Without a view's similarity to itself, which is 1.
    similarity = ((unit @ unit.transpose(1, 2)).sum(-1) - 1) / (views - 1)
    measures = torch.stack([similarity, tokens.norm(dim=-1), unit.var(dim=-1)])
    low, high = measures.amin(-1, keepdim=True), measures.amax(-1, keepdim=True)
    # A measure that is equal for all views becomes 0 for all, and prefers none.
    return ((measures - low) / (high - low + 1e-8) - 0.5).abs().sum(0).argmin(-1)

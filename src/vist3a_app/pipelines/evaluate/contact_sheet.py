"""The picture of an evaluation: a row per prompt, before alignment beside after."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.export.video import image_sheet


def contact_sheet(
    before: Sequence[Float[Tensor, "kinds views 3 height width"]],
    after: Sequence[Float[Tensor, "kinds views 3 height width"]],
    count: int,
) -> Float[Tensor, "3 sheet_height sheet_width"]:
    """First and middle view of the first ``count`` scenes, RGB in [0, 1], a row each; a white square of none.

    Scenes are decoded over rendered views, as :func:`vist3a.alignment.generation_scores.score_scenes` gives them, so a row has
    eight pictures, or four where a network without Gaussians renders nothing (``kinds`` is 1).

    Example:
        >>> contact_sheet([torch.rand(2, 9, 3, 64, 64)], [torch.rand(2, 9, 3, 64, 64)], 1).shape
        torch.Size([3, 64, 526])
    """
    rows = []
    for scenes in zip(before[:count], after[:count], strict=True):
        middle = scenes[0].shape[1] // 2
        rows.append(torch.cat([scene[:, [0, middle]].flatten(0, 1) for scene in scenes]))
    return image_sheet(torch.cat(rows), columns=len(rows[0])) if rows else torch.ones(3, 8, 8)

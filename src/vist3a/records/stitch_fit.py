"""Results of the stitch-layer search."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class StitchFit:
    """Closed-form stitch layer for one point: a Conv3d plus an optional bias per position.

    ``weight`` is in ``torch.nn.Conv3d`` layout; ``position_bias`` is on the token grid and replaces ``bias`` when present.
    """

    point: str
    weight: Float[Tensor, "width channels kernel_t kernel_h kernel_w"]
    bias: Float[Tensor, " width"]
    position_bias: Float[Tensor, "rows columns width"] | None
    special_tokens: Float[Tensor, "roles special width"]
    ridge: float


@dataclass(frozen=True)
class LayerScore:
    """Fit quality of one stitch point on held-out scenes (mean squared error per element, coefficient of determination)."""

    point: str
    kind: str
    complete: bool
    ridge: float
    mse_heldout: float
    r2_heldout: float
    r2_fit: float
    r2_heldout_conv: float
    """R^2 of the plain Conv3d with one bias per channel (no bias per position)."""

"""Results of the stitch-layer search."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class StitchFit:
    """Closed-form stitch layer for one point: a Conv3d plus an optional bias per position.

    ``weight`` is in ``torch.nn.Conv3d`` layout; ``position_bias`` is on the token grid and replaces ``bias`` when present.
    ``latent_statistics`` (mean, standard deviation) normalise the raw latents first, when present.
    """

    point: str
    weight: Float[Tensor, "width channels kernel_t kernel_h kernel_w"]
    bias: Float[Tensor, " width"]
    position_bias: Float[Tensor, "rows columns width"] | None
    special_tokens: Float[Tensor, "roles special width"]
    ridge: float
    latent_statistics: Float[Tensor, "2 channels"] | None = None


@dataclass(frozen=True)
class LayerScore:
    """Fit quality of one stitch point on held-out scenes.

    R^2 compares with the best constant: the mean activation per channel of the *fit* scenes. ``mse_heldout`` is per element.
    """

    point: str
    kind: str
    complete: bool
    ridge: float
    mse_heldout: float
    r2_heldout: float
    r2_low: float
    """With ``r2_high``: 95 % bootstrap interval over the held-out scenes."""
    r2_high: float
    r2_border: float | None
    """On the rim of the token grid, where receptive fields reach into the padding."""
    r2_centre: float | None
    """Inside of the rim; None where the grid has no inside."""
    r2_frames: tuple[float | None, ...]
    """Per view, in their order."""
    r2_fit: float
    r2_heldout_conv: float
    """Of the plain Conv3d with one bias per channel (no bias per position)."""
    cka: float
    """Linear centred kernel alignment of patches and activations (held-out scenes); for comparison, it ranks nothing."""
    r2_noisy: float | None = None
    """Held-out R^2 under noise of the level that the layer was fitted for, which then ranks the points; None: no noise."""

"""State of a reconstruction network at a stitch point."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class StitchPoint:
    """One place where a reconstruction network can be entered.

    ``complete`` is true when the tokens of this point alone (patch and special tokens) determine the rest of the
    network, i.e. no earlier tap is read by a head.
    """

    name: str
    kind: Literal["encoder", "aggregator"]
    width: int
    special_tokens: int
    complete: bool


@dataclass(frozen=True)
class TokenState:
    """Everything the rest of the network needs to continue behind a stitch point.

    ``patch_tokens`` lie on the token grid (rows, columns), ``special_tokens`` are the class/register/camera tokens in
    the network's own order, ``taps`` maps an aggregator depth to the features that heads read from it and that were
    produced before this point (empty at complete points). ``reference`` is the view that a network chose as the origin
    of its world before this point, for networks that choose one; the tokens stay in the order of the frames.
    """

    point: str
    patch_tokens: Float[Tensor, "batch views rows columns width"]
    special_tokens: Float[Tensor, "batch views special width"]
    taps: Mapping[int, Tensor] = field(default_factory=dict)
    reference: Int[Tensor, " batch"] | None = None

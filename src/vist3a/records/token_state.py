"""Where a reconstruction network can be entered, and its state there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class StitchPoint:
    """One place where a reconstruction network can be entered.

    ``kind`` is the network's own word for the group that the point belongs to, by which a search selects points.
    ``complete`` is true when the tokens of this point alone (patch and special tokens) determine the rest of the
    network, i.e. no earlier tap is read by a head. ``per_view`` is true where the tokens of a view are the same whatever
    other views there are, and whichever number it has.
    """

    name: str
    kind: str
    width: int
    special_tokens: int
    complete: bool = True
    per_view: bool = False


@dataclass(frozen=True)
class TokenRoles:
    """The roles that a network's special tokens have: as many sets of them are learned where a stitched decoder enters it.

    A view has the role of its number, all further views have the last one. A network that deals them otherwise gives a
    subclass with its own ``of``.

    Example:
        >>> TokenRoles(("first view", "other views")).of(torch.arange(4))
        tensor([0, 1, 1, 1])
    """

    names: tuple[str, ...]

    def of(self, views: Int[Tensor, " views"]) -> Int[Tensor, " views"]:
        """Number of the role of the views with these numbers (from 0)."""
        return views.clamp(max=len(self.names) - 1)


FIRST_AND_OTHERS = TokenRoles(("first view", "other views"))
"""Of networks whose world is that of the first view."""
ONE_ROLE = TokenRoles(("every view",))
"""Of networks that do not know which view is the first."""


@dataclass(frozen=True)
class TokenState:
    """Everything the rest of the network needs to continue behind a stitch point.

    ``patch_tokens`` lie on the token grid (rows, columns), ``special_tokens`` are the class/register/camera tokens in
    the network's own order, wherever it keeps them among the patches. ``taps`` maps a depth to the features that heads
    read from it and that were produced before this point (empty at complete points). ``reference`` is the view that a
    network chose as the origin of its world before this point, for networks that choose one; the tokens stay in the order
    of the frames.
    """

    point: str
    patch_tokens: Float[Tensor, "batch views rows columns width"]
    special_tokens: Float[Tensor, "batch views special width"]
    taps: Mapping[int, Tensor] = field(default_factory=dict)
    reference: Int[Tensor, " batch"] | None = None

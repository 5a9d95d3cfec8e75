"""A checked multi-view clip."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from vist3a.records.cameras import Cameras


@dataclass(frozen=True)
class Clip:
    """Views of one static scene in smooth order.

    ``frames`` are RGB in [0, 1]. ``cameras``, ``depth`` (z-depth, 0 where unknown) are known for procedural scenes
    and data sets that have them, in the scene's own frame and unit. ``caption`` may be empty. ``files`` names the image of every
    view where views came unordered: what is computed per view goes back to its image by that.
    """

    name: str
    frames: Float[Tensor, "views 3 height width"]
    caption: str = ""
    cameras: Cameras | None = None
    depth: Float[Tensor, "views height width"] | None = None
    files: tuple[str, ...] = ()

"""How many scenes a training keeps."""

from __future__ import annotations

from dataclasses import dataclass

from vist3a.runtime.bounds import Count, Positive


@dataclass(frozen=True, kw_only=True)
class BankSize:
    """Scenes kept on the training device.

    Attributes:
        capacity: Number of scenes.
        extra_views: Held-out views near the path of each clip.
        refresh_scenes: Scenes that are replaced at once.
        refresh_every: Steps between two replacements; 0 keeps the scenes for ever.
    """

    capacity: Positive
    extra_views: Count = 0
    refresh_scenes: Positive = 32
    refresh_every: Count = 0

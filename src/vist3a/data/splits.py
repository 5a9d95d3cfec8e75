"""Which clips train, which choose, which only judge."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

SPLITS = ("fit", "selection", "heldout")


def assign_splits(names: Sequence[str], seed: int, selection: float, heldout: float) -> dict[str, str]:
    """Split of every clip, from the order of the hashes of (seed, name); the order of ``names`` does not matter.

    Args:
        names: Names of all clips.
        seed: Another seed, another assignment.
        selection: Share that chooses hyper-parameters (at least one clip).
        heldout: Share that only judges (at least one clip). The rest is fitted on.

    Raises:
        ValueError: Fewer than one clip per split.
    """
    if len(names) < len(SPLITS):
        raise ValueError(
            f"{len(names)} clips passed the checks; at least {len(SPLITS)} are needed, one for each of {', '.join(SPLITS)}"
        )
    ordered = sorted(names, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
    # Both small splits first; what they may take leaves one clip to fit on.
    heldout_count = min(max(1, round(heldout * len(names))), len(names) - 2)
    selection_count = min(max(1, round(selection * len(names))), len(names) - heldout_count - 1)
    bounds = {"heldout": heldout_count, "selection": heldout_count + selection_count, "fit": len(names)}
    return {name: next(s for s, end in bounds.items() if i < end) for i, name in enumerate(ordered)}

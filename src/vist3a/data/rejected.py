"""Why an item of a source folder is not used."""

from __future__ import annotations


class RejectedError(ValueError):
    """One sentence: what is wrong, what was found, what is allowed. It costs one item, never the rest."""

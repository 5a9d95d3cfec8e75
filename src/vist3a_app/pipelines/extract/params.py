"""Parameters of the extract pipeline (top key ``extract``)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from vist3a.stitching.extract import TapConfig
from vist3a_app.pipelines.strict import Strict


class ExtractParams(Strict, TapConfig):
    """What is tapped and how latents meet tokens.

    ``kinds`` are the groups of stitch points to try, by the network's own names (null: all). ``clips``: at most so many of a
    split are seen (null: all); a linear fit needs few. ``batch`` clips go through the networks together, ``shard`` clips are
    accumulated between two files of the unfinished state.
    """

    kinds: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    clips: int | None = Field(None, gt=0)
    batch: int = Field(gt=0)
    shard: int = Field(gt=0)

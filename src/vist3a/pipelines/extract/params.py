"""Parameters of the extract pipeline (top key ``extract``)."""

from __future__ import annotations

from typing import Literal

from vist3a.pipelines.strict import Strict


class ExtractParams(Strict):
    """What is tapped and how latents meet tokens.

    ``kinds`` are the groups of stitch points to try; ``latents`` is the posterior's mode or a sample; ``kernel`` is the stitch
    convolution's (time, rows, columns).
    """

    seed: int
    kinds: tuple[Literal["encoder", "aggregator"], ...]
    kernel: tuple[int, int, int]
    padding_mode: Literal["zeros", "replicate"]
    latents: Literal["mode", "sample"]

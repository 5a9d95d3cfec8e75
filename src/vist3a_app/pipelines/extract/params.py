"""Parameters of the extract pipeline (top key ``extract``)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from vist3a_app.pipelines.strict import Strict

Positive = Annotated[int, Field(gt=0)]
NotNegative = Annotated[int, Field(ge=0)]


class ExtractParams(Strict):
    """What is tapped and how latents meet tokens.

    ``kinds`` are the groups of stitch points to try, by the network's own names (null: all). ``kernel``, ``stride`` and
    ``padding`` of the stitch convolution are (time, rows, columns); a stride or padding of ``null`` follows from the two
    grids. ``interpolation`` is how latents are resampled where their grid is not the convolution's. ``latents`` is the
    posterior's mode or a sample; ``latent_space`` raw, or normalised as the denoiser sees them.

    ``clips``: at most so many of a split are seen (null: all); a linear fit needs few. Of each clip the first ``frames`` are
    seen (null: all).

    ``batch`` clips go through the networks together, ``shard`` clips are accumulated between two files of the unfinished state.
    """

    seed: int
    kinds: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    kernel: tuple[Positive, Positive, Positive]
    stride: tuple[Positive, Positive, Positive] | None
    padding: tuple[NotNegative, NotNegative, NotNegative] | None
    padding_mode: Literal["zeros", "replicate"]
    interpolation: Literal["corners", "centres", "nearest"]
    latents: Literal["mode", "sample"]
    latent_space: Literal["raw", "normalised"]
    clips: Positive | None = None
    frames: Positive | None = None
    batch: int = Field(gt=0)
    shard: int = Field(gt=0)

    def tap_options(self) -> dict[str, Any]:
        """Options of ``stitching.extract.tap_settings``."""
        shape = {key: getattr(self, key) for key in ("kernel", "stride", "padding", "padding_mode", "interpolation")}
        sample = self.seed if self.latents == "sample" else None
        normalised = self.latent_space == "normalised"
        return {**shape, "sample_seed": sample, "normalised": normalised, "frames": self.frames}

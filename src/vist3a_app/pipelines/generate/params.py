"""Parameters of the generate pipeline (top key ``generate``)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from vist3a.export.formats import check_formats
from vist3a_app.pipelines.strict import Place, Strict

_ALLOWED = {
    "prompts_file": "a text file with one prompt per line, or null",
    "image": "an image, or a folder of images, or null",
    "adapter": "a folder in PEFT's layout, or null",
    "released_decoder": "a stitched decoder as VIST3A publishes them, or null",
    "scorer": "a folder with a text-image scorer (for the embedded one: `dvc pull`), or null",
}


class GenerateParams(Strict):
    """``prompt`` (or every line of ``prompts_file``) becomes a scene; of image-to-video generators ``image`` (or every image of
    that folder). ``aligned`` uses the generator after alignment. ``flow_shift`` null is the generator's own.

    ``adapter`` is a folder in PEFT's layout to use instead of the aligned generator's, ``released_decoder`` a file in the layout
    that VIST3A publishes to use instead of the stitched decoder; null: none.

    For small GPUs: ``offload`` keeps in host memory what is not at work (``parts``), or the denoiser's blocks too
    (``layers``, slower); ``tiling`` runs the video autoencoder in tiles. ``accelerate`` compiles what
    is repeated: a wait at the first prompt, then faster (not the denoiser when its blocks are streamed).

    Files: ``smoothing`` (squared pixels of the views) closes gaps between the Gaussians; those below ``min_opacity`` are left
    out, Gaussians and points are fused per voxel of ``voxel_size``, and the ``max_gaussians`` seen most are kept;
    ``drop_points`` is the share of points with the lowest confidence that is left out. ``formats`` are exporters of the registry.
    ``scorer`` judges text and picture (a folder; ``null``: only renderings against frames). Of many scenes the viewers of
    the first ``recorded_viewers`` go into the record of the run.
    """

    prompt: str | None
    prompts_file: Place | None = None
    image: Place | None = None
    seed: int
    steps: int = Field(gt=0)
    guidance: float = Field(ge=1)
    flow_shift: float | None = Field(None, gt=0)
    frames: int = Field(gt=0)
    height: int = Field(gt=0)
    width: int = Field(gt=0)
    aligned: bool
    adapter: Place | None = None
    released_decoder: Place | None = None
    offload: Literal["none", "parts", "layers"] = "none"
    tiling: bool = False
    accelerate: bool = False
    scorer: Place | None = None
    smoothing: float = Field(0.0, ge=0)
    max_gaussians: int | None = Field(None, gt=0)
    min_opacity: float = Field(0.0, ge=0, lt=1)
    voxel_size: float | None = Field(None, gt=0)
    drop_points: float = Field(0.1, ge=0, lt=1)
    turntable_frames: int = Field(gt=1)
    turntable_size: int = Field(gt=15)
    recorded_viewers: int = Field(8, ge=0)
    formats: tuple[str, ...] = ()

    def check_places(self) -> None:
        """FileNotFoundError naming a file or folder that is not there, before anything is made that needs it at the end.

        ValueError for an exporter that is not.
        """
        check_formats(self.formats, "generate.formats")
        for name in ("prompts_file", "image", "adapter", "released_decoder", "scorer"):
            place = getattr(self, name)
            if place is not None and not Path(place).exists():
                raise FileNotFoundError(f"generate.{name}: {place} does not exist; allowed: {_ALLOWED[name]}")

"""Parameters of the generate pipeline (top key ``generate``)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from vist3a.export.formats import check_formats
from vist3a.export.scene import ExportSettings
from vist3a.generation.improvement import ImprovementSettings
from vist3a.sampling.sampling import SamplingConfig
from vist3a_app.pipelines.strict import Place, Strict

_ALLOWED = {
    "prompts_file": "a text file with one prompt per line, or null",
    "image": "an image, or a folder of images, or null",
    "adapter": "a folder in PEFT's layout, or null",
    "released_decoder": "a stitched decoder as VIST3A publishes them, or null",
    "scorer": "a folder with a text-image scorer (for the embedded one: `dvc pull`), or null",
}


class GenerateParams(Strict, SamplingConfig, ExportSettings, ImprovementSettings):
    """``prompt`` (or every line of ``prompts_file``) becomes a scene; of image-to-video generators ``image`` (or every image of
    that folder). ``aligned`` uses the generator after alignment.

    ``adapter`` is a folder in PEFT's layout to use instead of the aligned generator's, ``released_decoder`` a file in the layout
    that VIST3A publishes to use instead of the stitched decoder; null: none.

    For small GPUs: ``offload`` keeps in host memory what is not at work (``parts``), or the denoiser's blocks too
    (``layers``, slower); ``tiling`` runs the video autoencoder in tiles. ``accelerate`` compiles what
    is repeated: a wait at the first prompt, then faster (not the denoiser when its blocks are streamed).

    ``scorer`` judges text and picture (a folder; ``null``: only renderings against frames). Of many scenes the viewers of
    the first ``recorded_viewers`` go into the record of the run. Everything else says how latents are sampled,
    what is done to the Gaussians, and what the files hold.
    """

    prompt: str | None
    prompts_file: Place | None = None
    image: Place | None = None
    seed: int
    aligned: bool
    adapter: Place | None = None
    released_decoder: Place | None = None
    offload: Literal["none", "parts", "layers"] = "none"
    tiling: bool = False
    accelerate: bool = False
    scorer: Place | None = None
    recorded_viewers: int = Field(8, ge=0)

    def check_places(self) -> None:
        """FileNotFoundError naming a file or folder that is not there, before anything is made that needs it at the end.

        ValueError for an exporter that is not.
        """
        check_formats(self.formats, "generate.formats")
        for name in ("prompts_file", "image", "adapter", "released_decoder", "scorer"):
            place = getattr(self, name)
            if place is not None and not Path(place).exists():
                raise FileNotFoundError(f"generate.{name}: {place} does not exist; allowed: {_ALLOWED[name]}")

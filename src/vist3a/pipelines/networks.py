"""Parameters naming the two networks (top key ``networks``), shared by the pipelines that run them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from vist3a.engine.device import resolve_device
from vist3a.models.generators.base import VideoGenerator
from vist3a.models.networks import load_generator, load_reconstruction
from vist3a.models.reconstruction.base import ReconstructionModel
from vist3a.models.weights import registered
from vist3a.pipelines.strict import Strict

Dtype = Literal["float32", "bfloat16", "float16"]


class GeneratorSource(Strict):
    """A video generator: family, folder or hub id, revision, numeric type, padded prompt length."""

    family: str
    source: str
    revision: str | None = None
    dtype: Dtype = "float32"
    max_text_tokens: int = Field(512, gt=0)


class ReconstructionSource(Strict):
    """A reconstruction network: family, folder or name in ``weights.yml`` or checkpoint file (with its config).

    ``dtype`` is that of the trunk's matrix products; ``compile``: its blocks are compiled at their first use.
    """

    family: str
    source: str
    config: str | None = None
    dtype: Dtype = "float32"
    compile: bool = False


class Networks(Strict):
    """The pairing and where it runs (``auto``: CUDA when there is one)."""

    device: str
    generator: GeneratorSource
    reconstruction: ReconstructionSource

    def load_generator(self, *parts: str) -> VideoGenerator:
        """The generator with the named parts, frozen."""
        chosen: Sequence[str] = parts
        return load_generator(parts=chosen, device=resolve_device(self.device), **self.generator.model_dump())

    def load_reconstruction(self) -> ReconstructionModel:
        """The reconstruction network, frozen."""
        device = resolve_device(self.device)
        return load_reconstruction(device=device, public=registered(), **self.reconstruction.model_dump())

    def local_weights(self) -> list[Path]:
        """The video autoencoder and the reconstruction network as files or folders, as far as they are given by paths."""
        given = (Path(self.generator.source) / "vae", Path(self.reconstruction.source))
        return [path for path in given if path.exists()]

"""Parameters naming the two networks (top key ``networks``), shared by the pipelines that run them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from vist3a.data.prompt_list import check_prompts
from vist3a.generators.base import VideoGenerator
from vist3a.generators.condition_store import PLACE, AskedConditions, ConditionStore, encoder_identity, in_template
from vist3a.networks.base import ReconstructionModel
from vist3a.pairing import denoiser_folder, generator_place, load_generator, load_reconstruction
from vist3a.records import Condition
from vist3a.runtime.device import resolve_device
from vist3a.runtime.workers.settings import HERE, WorkerSettings
from vist3a.shortening.artifact import load_shortened
from vist3a.weights.artifact_file import weights_fingerprint
from vist3a.weights.identity import Identity, Pairing, generator_identity, network_identity
from vist3a.weights.known import KnownWeights
from vist3a.weights.public import commercial_use
from vist3a_app.pipelines.strict import Place, Strict

Dtype = Literal["float32", "bfloat16", "float16"]
Size = tuple[int, int]


def _has_a_place(value: str) -> str:
    if value.count(PLACE) != 1:
        raise ValueError(f"prompt template {value!r} must contain {PLACE} once")
    return value


Template = Annotated[str, AfterValidator(_has_a_place)]
"""A text with one place for a prompt."""


class GeneratorSource(Strict):
    """A video generator: family, folder or hub id or name in ``weights.yml``, revision and variant of the files, numeric type.

    ``shortened`` is what the shorten pipeline left for its denoiser, which then samples in few steps (null: as it is).

    ``max_text_tokens`` is the padded prompt length (null: as published); ``size`` (height, width) what frames are resized
    to before they are encoded (null: as the clips are). Prompts and captions take the place of ``{prompt}`` in the
    template.
    """

    family: str
    source: str
    revision: str | None = None
    variant: str | None = None
    dtype: Dtype = "float32"
    max_text_tokens: int | None = Field(None, gt=0)
    size: Size | None = None
    prompt_template: Template = PLACE
    negative_prompt: str = ""
    shortened: Place | None = None


class ReconstructionSource(Strict):
    """A reconstruction network: family, folder or name in ``weights.yml`` or checkpoint file (with its config).

    ``dtype`` is that of the trunk's matrix products; ``compile``: its blocks are compiled at their first use; ``size`` (height,
    width) is what frames are resized to before the network sees them (null: as the clips are).
    """

    family: str
    source: str
    config: str | None = None
    dtype: Dtype = "float32"
    compile: bool = False
    size: Size | None = None


class Networks(Strict):
    """The pairing and where it runs (``auto``: CUDA when there is one).

    ``weights`` changes or adds entries of ``weights.yml`` (a copy on this machine as ``path``); ``commercial``: weights whose
    licence forbids commercial use are refused.
    """

    device: str
    weights: dict[str, dict[str, dict[str, Any]]] = Field(default_factory=dict)
    commercial: bool = False
    generator: GeneratorSource
    reconstruction: ReconstructionSource

    @property
    def known(self) -> KnownWeights:
        """Published weights by name."""
        return KnownWeights.read(self.weights)

    def load_generator(self, *parts: str) -> VideoGenerator:
        """The generator with the named parts, frozen."""
        chosen: Sequence[str] = parts
        # Templates and negative prompts are about texts: no network is loaded otherwise for them.
        settings = self.generator.model_dump(exclude={"prompt_template", "negative_prompt", "shortened"})
        with commercial_use(self.commercial):
            generator = load_generator(
                parts=chosen, device=resolve_device(self.device), public=self.known.generators, **settings
            )
        if self.generator.shortened is not None and "denoiser" in chosen:
            load_shortened(generator, Path(self.generator.shortened), self.unshortened_denoiser)
        return generator

    def load_reconstruction(self) -> ReconstructionModel:
        """The reconstruction network, frozen."""
        device = resolve_device(self.device)
        with commercial_use(self.commercial):
            return load_reconstruction(device=device, public=self.known.networks, **self.reconstruction.model_dump())

    @property
    def pairing(self) -> Pairing:
        """Which networks these are, by their bytes or published revisions."""
        one, other = self.generator, self.reconstruction
        return Pairing(
            generator_identity(one.family, one.source, self.known, one.revision, one.variant),
            network_identity(other.family, other.source, self.known, other.config),
        )

    @property
    def denoiser(self) -> Identity:
        """Which denoiser the generator has: the network that an adapter changes."""
        one, original = self.generator, self.unshortened_denoiser
        if one.shortened is None:
            return original
        made = weights_fingerprint(Path(one.shortened))
        return Identity(original.family, f"{original.source} shortened", f"{original.fingerprint}+{made}")

    @property
    def unshortened_denoiser(self) -> Identity:
        """The denoiser as it is before it is shortened."""
        one = self.generator
        folder = denoiser_folder(one.family)
        return generator_identity(one.family, one.source, self.known, one.revision, one.variant, folder)

    def local_weights(self) -> list[Path]:
        """The video autoencoder and the reconstruction network as files or folders, as far as they are given by paths."""
        # Only what extraction runs, and of that only what lies on this machine.
        given = (Path(self.generator.source) / "vae", Path(self.reconstruction.source))
        return [path for path in given if path.exists()]

    def embed(
        self, prompts: Iterable[str], store: Path, workers: WorkerSettings = HERE
    ) -> tuple[AskedConditions, Condition]:
        """Conditions of ``prompts`` (in the template), by prompt, and of the negative prompt.

        What ``store`` lacks is embedded now; the text encoder is gone afterwards. One warning names words that the
        generator does not know.
        """
        chosen, negative = list(prompts), self.generator.negative_prompt
        check_prompts(chosen, self.load_generator("tokenizer"))
        # Stored by the text that the encoder sees, with the template around it.
        files = self.conditions([*map(self.asked, chosen), negative], store, workers)
        return AskedConditions(files, self.generator.prompt_template), files([negative])

    def conditions(self, texts: Iterable[str], store: Path, workers: WorkerSettings = HERE) -> ConditionStore:
        """Conditions of ``texts`` as they are; what ``store`` lacks is embedded now, and the text encoder is gone afterwards."""
        settings = self.generator
        place, revision, _ = generator_place(settings.source, self.known.generators)
        # All that changes an embedding: files of one encoder are never taken for those of another.
        identity = encoder_identity(
            place, settings.revision or revision, settings.family, settings.dtype, settings.max_text_tokens
        )
        files = ConditionStore(store, identity, resolve_device(self.device))
        files.fill(texts, partial(self.load_generator, "text"), workers)
        return files

    def asking(self, negative_prompt: str | None, max_text_tokens: int | None) -> Networks:
        """The same pairing with another negative prompt or length of prompts, where given."""
        given = {"negative_prompt": negative_prompt, "max_text_tokens": max_text_tokens}
        changes = {name: value for name, value in given.items() if value is not None}
        return self.model_copy(update={"generator": self.generator.model_copy(update=changes)})

    def asked(self, prompt: str) -> str:
        """The prompt in the template."""
        return in_template(self.generator.prompt_template, prompt)

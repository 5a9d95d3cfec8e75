"""The adapter of an aligned generator as a folder that knows itself: of which denoiser, for which pairing, through which decoder.

``adapter.json`` stands beside the two files of PEFT's layout, which other programs read as before. A folder without it is an
adapter from elsewhere, or of a version that wrote none, and is held against the denoiser's layers alone.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vist3a.adapters.lora import ADAPTER, load_lora, save_lora
from vist3a.weights import artifact_file
from vist3a.weights.identity import Identity, Pairing, check_same

FILE, FORMAT = "adapter.json", 1
ALIGN = "one that is aligned for this (`kedro run --pipelines=align`), or, to try it all the same, a copy without "

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Aligned:
    """What an adapter was trained with, or is to work with.

    ``denoiser`` is the network that it changes. ``decoder`` is the fingerprint of the stitched decoder that the rewards were
    computed through (:func:`vist3a.weights.artifact_file.weights_fingerprint`), ``point`` where that enters the 3D network; None
    where no decoder of ours is at work.
    """

    pairing: Pairing
    denoiser: Identity
    decoder: str | None = None
    point: str | None = None


@dataclass(frozen=True)
class AdapterArtifact:
    """What ``adapter.json`` says: what the adapter was trained with, its rank and strength, and the version that made it."""

    aligned: Aligned
    rank: int
    alpha: float
    version: str
    format: int = FORMAT


def save_adapter(folder: Path, denoiser: Any, aligned: Aligned) -> None:
    """Write the adapter of a denoiser in PEFT's layout, and what it is of.

    Example:
        >>> save_adapter(Path("adapter"), generator.denoiser, Aligned(pairing, denoiser, fingerprint, decoder.point))
    """
    save_lora(denoiser, folder)
    # From the network itself, so that what is written down cannot differ from what was trained.
    settings = denoiser.peft_config[ADAPTER]
    artifact = AdapterArtifact(aligned, settings.r, float(settings.lora_alpha), artifact_file.code_version())
    artifact_file.write_artifact(folder / FILE, asdict(artifact))


def load_adapter(folder: Path, denoiser: Any, wanted: Aligned | None) -> None:
    """Load and activate an adapter (:func:`vist3a.adapters.lora.load_lora`) after a look at what it is of.

    A warning says that the decoder is another one than the adapter was aligned through: that is allowed, as the denoiser is the
    same, but its rewards were those of the other.

    Args:
        folder: As :func:`save_adapter` wrote it, or any adapter in PEFT's layout, which is held against the layers alone.
        denoiser: The network that it changes.
        wanted: What it is to work with; None: not looked at.

    Raises:
        FileNotFoundError: The folder holds no adapter.
        ValueError: The adapter is of another denoiser or pairing, or damaged; the sentence says what it is of.
    """
    artifact = None if wanted is None else read_artifact(folder)
    if artifact is not None and wanted is not None:
        made, what = artifact.aligned, f"{folder} is an adapter"
        # The denoiser first: of a generator with other weights everything else is wrong as well.
        check_same(what, "denoiser", made.denoiser, wanted.denoiser, f"{ALIGN}{FILE}")
        made.pairing.check(what, wanted.pairing, f"{ALIGN}{FILE}")
        if wanted.decoder is not None and made.decoder != wanted.decoder:
            logger.warning(
                "%s was aligned through another decoder (entered at %s) than this one (at %s); `kedro run --pipelines=align` "
                "aligns anew", folder, made.point, wanted.point,
            )  # fmt: skip
    load_lora(denoiser, folder)


def read_artifact(folder: Path) -> AdapterArtifact | None:
    """What the folder says of itself; None for an adapter from elsewhere or of an earlier version.

    Raises:
        ValueError: ``adapter.json`` is damaged or of a newer format.
    """
    values = artifact_file.read_artifact(folder / FILE, FORMAT)
    if values is None:
        return None
    aligned = values.pop("aligned")
    pairing, denoiser = Pairing.read(aligned.pop("pairing")), Identity(**aligned.pop("denoiser"))
    return AdapterArtifact(aligned=Aligned(pairing=pairing, denoiser=denoiser, **aligned), **values)

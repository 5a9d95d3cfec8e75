"""A stitched decoder as a folder that knows itself: which networks it joins, where, how it was tuned, and by which version.

``decoder.json`` stands beside the stitch layer and the trained parameters, so that nobody has to remember the settings that it
was made with, and a folder of another pairing is refused before anything is computed with it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import safe_open

from vist3a.networks.base import ReconstructionModel
from vist3a.stitching.decoder import StitchedDecoder
from vist3a.stitching.store import load_fit
from vist3a.stitching.tuning import TRAINED, Tuning, load_trained, prepare, save_trained
from vist3a.weights import artifact_file
from vist3a.weights.identity import Pairing

FILE, FORMAT = "decoder.json", 1


@dataclass(frozen=True)
class DecoderArtifact:
    """What ``decoder.json`` says: the pairing, the stitch point, how the decoder was tuned, and the version that made it."""

    pairing: Pairing
    point: str
    tuning: Tuning
    lora_rank: int
    lora_alpha: float
    version: str
    format: int = FORMAT


def save_decoder(
    folder: Path,
    decoder: StitchedDecoder,
    stitch_layer: Path,
    pairing: Pairing,
    tuning: Tuning,
    lora_rank: int,
    lora_alpha: float,
    dtype: torch.dtype | None = None,
) -> None:
    """Write the trained parameters beside the stitch layer that they started from, and what they are of."""
    save_trained(folder, decoder, stitch_layer, dtype)
    version = artifact_file.code_version()
    artifact = DecoderArtifact(pairing, decoder.point, tuning, lora_rank, lora_alpha, version)
    artifact_file.write_artifact(folder / FILE, asdict(artifact))


def load_decoder(folder: Path, network: ReconstructionModel, pairing: Pairing) -> StitchedDecoder:
    """The decoder of a folder on ``network``, which is changed; frozen, on the CPU.

    Args:
        folder: As :func:`save_decoder` wrote it.
        network: The 3D network, as it was when the decoder was made.
        pairing: What is to be joined; both networks must be those that the decoder was made with.

    Raises:
        FileNotFoundError: The folder holds no decoder.
        ValueError: The decoder is of another pairing, or damaged; the sentence says what it is of.

    Example:
        >>> decoder = load_decoder(Path("data/06_models/stitched_decoder"), network, pairing)
    """
    fit, spec = load_fit(folder)
    artifact = read_artifact(folder)
    if artifact is None:
        tuning, rank, alpha = _of_an_earlier_version(folder)
    else:
        again = "a decoder that is distilled for this one (`kedro run --pipelines=stitch`)"
        artifact.pairing.check(f"{folder} is a decoder", pairing, again)
        tuning, rank, alpha = artifact.tuning, artifact.lora_rank, artifact.lora_alpha
    decoder = StitchedDecoder(network, spec, fit)
    # Adapters must be there before their stored values can be put back.
    prepare(decoder, tuning, rank, alpha)
    load_trained(folder, decoder)
    return decoder.requires_grad_(False).eval()


def read_artifact(folder: Path) -> DecoderArtifact | None:
    """What the folder says of itself; None where an earlier version made it."""
    values = artifact_file.read_artifact(folder / FILE, FORMAT)
    if values is None:
        return None
    return DecoderArtifact(pairing=Pairing.read(values.pop("pairing")), **values)


def _of_an_earlier_version(folder: Path) -> tuple[Tuning, int, float]:
    """Tuning of a folder without ``decoder.json``, from the names of its tensors."""
    with safe_open(folder / TRAINED, "pt") as file:
        adapted = any(".lora_A." in name for name in file.keys())  # noqa: SIM118 (no mapping)
    if adapted:
        raise ValueError(
            f"{folder}: an earlier version made this decoder and did not write down lora_alpha; allowed: a folder with {FILE} "
            "(distill anew: `kedro run --pipelines=distill`)"
        )
    # Without adapters rank and alpha mean nothing.
    return "full", 1, 1.0

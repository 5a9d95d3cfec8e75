"""A folder with all that generation needs, to be loaded elsewhere: parameters, stitched decoder, adapter, and small networks.

Networks that are larger than a limit, or not folders, stay where they are: the bundle then names their place. ``bundle.json``
says which networks these were, so that others that lie there by now are refused.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vist3a import presets
from vist3a.generation.text_to_3d import TextTo3D
from vist3a.weights import artifact_file
from vist3a.weights.artifact_file import weights_fingerprint
from vist3a.weights.identity import Identity, Pairing, check_same
from vist3a_app.pipelines.generate.loading import load_text_to_3d
from vist3a_app.pipelines.generate.params import GenerateParams
from vist3a_app.pipelines.networks import Networks

PARAMETERS, DECODER, ADAPTER = "parameters.json", "stitched_decoder", "aligned_generator"
FILE, FORMAT = "bundle.json", 1
COPIED_BYTES = 512 * 2**20
"""Folders up to this size are copied."""
CARRIED = (("generate", "scorer"), ("generate", "adapter"), ("generate", "released_decoder"))
"""Parameters whose folders go along, beside the two networks."""


@dataclass(frozen=True)
class BundleArtifact:
    """What ``bundle.json`` says: the networks, fingerprints of decoder and adapter (None: not aligned), and the version."""

    pairing: Pairing
    denoiser: Identity
    decoder: str
    adapter: str | None
    version: str
    format: int = FORMAT


def is_bundle(folder: Path) -> bool:
    """Whether a folder was written by :func:`save_bundle`, of this version or an earlier one."""
    return (folder / PARAMETERS).is_file()


def save_bundle(
    folder: Path,
    params: GenerateParams,
    networks: Networks,
    stitched_decoder: Path,
    aligned_generator: Path,
) -> None:
    """Write a bundle into an empty folder."""
    shutil.copytree(stitched_decoder, folder / DECODER)
    if params.aligned:
        shutil.copytree(aligned_generator, folder / ADAPTER)
    groups = {
        # Prompts come from whoever loads it.
        "generate": params.model_dump(mode="json") | {"prompt": None, "prompts_file": None},
        "networks": networks.model_dump(mode="json"),
    }
    for name, group, key in (
        ("generator", groups["networks"]["generator"], "source"),
        ("reconstruction", groups["networks"]["reconstruction"], "source"),
        ("shortened", groups["networks"]["generator"], "shortened"),
        *((key, groups[group], key) for group, key in CARRIED),
    ):
        group[key] = _packed(folder, name, group[key])
    (folder / PARAMETERS).write_text(json.dumps(groups, indent=1) + "\n")
    # Last: the fingerprints are those of the copies.
    artifact_file.write_artifact(folder / FILE, asdict(_artifact(folder, networks)))


def load_bundle(folder: Path, parameters: Mapping[str, Mapping[str, Any]] | None = None) -> TextTo3D:
    """Networks of a bundle, on CUDA where there is one and the bundle does not say otherwise.

    Args:
        folder: As :func:`save_bundle` wrote it, moved or not.
        parameters: Changes of the groups ``generate`` and ``networks``, as ``{"networks": {"device": "cpu"}}``.

    Raises:
        FileNotFoundError: The folder is no bundle, or a network that it names is not there.
        ValueError: The networks are not those that the bundle was made of, or a parameter is not allowed.
    """
    if not is_bundle(folder):
        raise FileNotFoundError(f"{folder} holds no {PARAMETERS}, so it is no bundle of vist3a")
    groups: dict[str, dict[str, Any]] = json.loads((folder / PARAMETERS).read_text(encoding="utf-8"))
    # Before anything is given: what is given names places of this machine, not of the bundle.
    for group, key in (
        (groups["networks"]["generator"], "source"),
        (groups["networks"]["reconstruction"], "source"),
        (groups["networks"]["generator"], "shortened"),
        *((groups[group], key) for group, key in CARRIED),
    ):
        if group.get(key) is not None and (folder / group[key]).exists():
            group[key] = str(folder / group[key])
    for name, values in (parameters or {}).items():
        if name not in groups:
            raise ValueError(
                f"parameter group {name!r} of {folder}; allowed for a bundle: {', '.join(sorted(groups))}, as it holds "
                "nothing else"
            )
        groups[name] = presets.merged(groups[name], values)
    networks = Networks(**groups["networks"])
    _check(folder, networks)
    return load_text_to_3d(GenerateParams(**groups["generate"]), networks, folder / DECODER, folder / ADAPTER)


def read_artifact(folder: Path) -> BundleArtifact | None:
    """What the bundle says of itself; None where an earlier version made it."""
    values = artifact_file.read_artifact(folder / FILE, FORMAT)
    if values is None:
        return None
    pairing, denoiser = Pairing.read(values.pop("pairing")), Identity(**values.pop("denoiser"))
    return BundleArtifact(pairing=pairing, denoiser=denoiser, **values)


def _artifact(folder: Path, networks: Networks) -> BundleArtifact:
    """Of the folder as it is, with the networks that are to work in it."""
    adapter = weights_fingerprint(folder / ADAPTER) if (folder / ADAPTER).is_dir() else None
    decoder, version = weights_fingerprint(folder / DECODER), artifact_file.code_version()
    return BundleArtifact(networks.pairing, networks.denoiser, decoder, adapter, version)


def _check(folder: Path, networks: Networks) -> None:
    """ValueError where networks, decoder or adapter are not those that ``bundle.json`` names."""
    made = read_artifact(folder)
    if made is None:
        return  # of an earlier version; decoder and adapter inside may still say what they are of
    # What lies there now, by its bytes: networks outside of the bundle may have changed since.
    found, what, again = _artifact(folder, networks), f"{folder} is a bundle", "a bundle that is made with this one"
    check_same(what, "denoiser", made.denoiser, found.denoiser, again)
    made.pairing.check(what, found.pairing, again)
    for part, wanted, lies in ((DECODER, made.decoder, found.decoder), (ADAPTER, made.adapter, found.adapter)):
        if wanted != lies:
            raise ValueError(
                f"{folder / part} is not what the bundle was made with; allowed: the bundle as it was written"
            )


def _packed(folder: Path, name: str, source: str | None) -> str | None:
    """The place that the bundle writes down: a copy inside, or the absolute path, or the name as it is."""
    if source is None or not Path(source).exists():
        return source
    place = Path(source).resolve()
    if place.is_dir() and sum(file.stat().st_size for file in place.rglob("*") if file.is_file()) <= COPIED_BYTES:
        shutil.copytree(place, folder / "networks" / name)
        return f"networks/{name}"
    return str(place)

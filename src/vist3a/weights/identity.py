"""Which network it is: family, source, and a fingerprint of its bytes or of its published revision."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vist3a.weights.known import KnownWeights
from vist3a.weights.public import sha256_of

DIGITS = 16
READ = (".json", ".safetensors", ".bin", ".pt", ".pth", ".ckpt")


@dataclass(frozen=True)
class Identity:
    """A network: ``fingerprint`` is equal where the weights are, wherever they lie; ``source`` is for people."""

    family: str
    source: str
    fingerprint: str

    def same_as(self, other: Identity) -> bool:
        """Whether both are the same network with the same weights."""
        return (self.family, self.fingerprint) == (other.family, other.fingerprint)

    def __str__(self) -> str:
        """Family, source and the begin of the fingerprint."""
        return f"{self.family} {self.source} ({self.fingerprint[:DIGITS]})"


@dataclass(frozen=True)
class Pairing:
    """The two networks that an artefact joins; of the generator its video autoencoder counts, whose latents are read."""

    generator: Identity
    network: Identity

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Pairing:
        """Inverse of ``dataclasses.asdict``."""
        return cls(Identity(**values["generator"]), Identity(**values["network"]))

    def check(self, what: str, wanted: Pairing, again: str) -> None:
        """Refuse an artefact of another pairing.

        Args:
            what: What was made, with its place: ``"models/decoder is a decoder"``.
            wanted: The pairing that is to work with it.
            again: What else is allowed, at the end of the sentence.

        Raises:
            ValueError: One of the networks is another one.
        """
        check_same(what, "generator", self.generator, wanted.generator, again)
        check_same(what, "3D network", self.network, wanted.network, again)


def check_same(what: str, kind: str, made: Identity, wanted: Identity, again: str) -> None:
    """ValueError where ``wanted`` is not the network that something was made for."""
    if not made.same_as(wanted):
        raise ValueError(
            f"{what} for the {kind} {made}, not for {wanted}; allowed: the {kind} it was made with, or {again}"
        )


def generator_identity(
    family: str,
    source: str,
    known: KnownWeights,
    revision: str | None = None,
    variant: str | None = None,
    part: str = "vae",
) -> Identity:
    """Of a generator's video autoencoder, whose latents a decoder reads, or of the network in another folder (``part``).

    Published generators are told apart by their revision, which fixes all parts.
    """
    entry = known.generators.get(source)
    place = Path(source).expanduser()
    # A folder comes before a name, as it does when the generator is loaded.
    if place.is_dir():
        return Identity(family, source, _of_files(place / part))
    if entry is None:
        return Identity(family, source, f"{source}@{revision or 'main'}")
    return Identity(family, source, f"{entry.repo}@{revision or entry.revision}/{variant or entry.variant or ''}")


def network_identity(family: str, source: str, known: KnownWeights, config: str | None = None) -> Identity:
    """Of a 3D network: a folder, a checkpoint file with the name of its ``config``, or named weights."""
    entry, place = known.networks.get(source), Path(source).expanduser()
    if place.exists():
        return Identity(family, source, _of_files(place) + (f"/{config}" if config else ""))
    return Identity(family, source, source if entry is None else entry.address)


def _of_files(place: Path) -> str:
    files = [place] if place.is_file() else sorted(file for file in place.rglob("*") if file.suffix in READ)
    if not files:
        raise FileNotFoundError(f"{place} holds no weights; allowed: a folder with {', '.join(READ)}")
    # Names below the place only, so that a copy elsewhere is the same network.
    named = (f"{file.relative_to(place)} {sha256_of(file)}" for file in files)
    return hashlib.sha256("\n".join(named).encode()).hexdigest()

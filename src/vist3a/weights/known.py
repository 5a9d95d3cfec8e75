"""All published weights that have a name: ``weights.yml`` of this package, and what a project or program changes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from vist3a.weights.public import PublicGenerator, PublicWeights, parse, parse_generators, parse_rewards

FILE = Path(__file__).with_name("weights.yml")
KEYS = ("weights", "generators", "rewards")


@dataclass(frozen=True)
class KnownWeights:
    """Entries by name: of 3D networks, of video generators, of reward models.

    Example:
        >>> KnownWeights.read().networks["vggt-1b"].repo
        'facebook/VGGT-1B'
        >>> mine = KnownWeights.read({"weights": {"vggt-1b": {"path": "~/vggt/model.safetensors"}}})
    """

    networks: Mapping[str, PublicWeights] = field(default_factory=lambda: MappingProxyType({}))
    generators: Mapping[str, PublicGenerator] = field(default_factory=lambda: MappingProxyType({}))
    rewards: Mapping[str, PublicWeights] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def read(cls, changes: Mapping[str, Any] = MappingProxyType({})) -> KnownWeights:
        """The entries of the package under ``changes``, which may add entries or change keys of those there are.

        Raises:
            ValueError: A key is unknown or a value is not allowed; the sentence names the entry.
        """
        if unknown := sorted(set(changes) - set(KEYS)):
            raise ValueError(f"weights.yml: unknown keys {', '.join(unknown)}; allowed: {', '.join(KEYS)}")
        tables = {key: _changed(_shipped()[key], changes.get(key) or {}) for key in KEYS}
        return cls(parse(tables["weights"]), parse_generators(tables["generators"]), parse_rewards(tables["rewards"]))


@cache
def _shipped() -> Mapping[str, Mapping[str, Any]]:
    import yaml

    content: Mapping[str, Mapping[str, Any]] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return content


def _changed(entries: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    changed = dict(entries)
    for name, values in changes.items():
        # Entries that are there change key by key; new ones are taken as they are.
        both = isinstance(values, Mapping) and isinstance(changed.get(name), Mapping)
        changed[name] = {**changed[name], **values} if both else values
    return changed

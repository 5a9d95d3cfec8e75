"""Presets of video generators and 3D networks: any two make a pairing.

A preset holds the settings of one network: which weights, how clips are sampled, how its decoder is distilled. A file may start
from another one (``like``) and state only what differs. Packages add theirs as entry points of the groups
``vist3a.generator_presets`` and ``vist3a.network_presets``, whose value is a mapping or the path of such a file.

Example:
    >>> pair("wan+vggt")["networks"]["reconstruction"]["source"]
    'vggt-1b'
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vist3a import registry

FOLDER = Path(__file__).parent
PLACES = {"generator_presets": FOLDER / "generators", "network_presets": FOLDER / "networks"}
LIKE, JOINED = "like", "+"


def names(kind: str) -> tuple[str, ...]:
    """All presets of a kind, ``generator_presets`` or ``network_presets``: ours, then those of installed packages."""
    return tuple(dict.fromkeys([*sorted(path.stem for path in PLACES[kind].glob("*.yml")), *registry.names(kind)]))


def split(pairing: str, where: str = "pair") -> tuple[str, str]:
    """The two names in ``GENERATOR+NETWORK``; ValueError in one sentence for what is no such pairing."""
    generator, joined, network = pairing.partition(JOINED)
    kinds = (("generator_presets", generator, "generators"), ("network_presets", network, "3D networks"))
    if not joined or any(not name for _, name, _ in kinds):
        raise ValueError(f"{where}: {pairing!r}; allowed: GENERATOR+NETWORK, as wan+vggt")
    for kind, name, called in kinds:
        if name not in names(kind) and ":" not in name:
            raise ValueError(f"{where}: {name!r} of {pairing}; allowed {called}: {', '.join(names(kind))}")
    return generator, network


def pair(pairing: str) -> dict[str, Any]:
    """Settings by parameter group of the two networks, and ``size`` (side of the video in pixels) where the network states it."""
    generator, network = split(pairing)
    return merged(preset("generator_presets", generator), preset("network_presets", network))


def preset(kind: str, name: str) -> dict[str, Any]:
    """Settings of one network by parameter group."""
    file = PLACES[kind] / f"{name}.yml"
    values = _read(file) if file.is_file() else _foreign(kind, name)
    base = values.pop(LIKE, None)
    return values if base is None else merged(preset(kind, base), values)


def merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Both mappings, key by key and level by level; where both say something, ``over`` counts."""
    joined = dict(under)
    for key, value in over.items():
        before = joined.get(key)
        joined[key] = merged(before, value) if isinstance(before, Mapping) and isinstance(value, Mapping) else value
    return joined


def _foreign(kind: str, name: str) -> dict[str, Any]:
    found = registry.find(kind, name)
    return dict(found) if isinstance(found, Mapping) else _read(Path(found))


def _read(file: Path) -> dict[str, Any]:
    import yaml

    values = yaml.safe_load(file.read_text(encoding="utf-8"))
    if not isinstance(values, dict):
        raise ValueError(f"{file} holds {type(values).__name__}; allowed: settings by parameter group")
    return values

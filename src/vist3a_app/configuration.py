"""What a run is told, in layers: the files, a pairing, a preset of the paper or its code, and what is given on the command line.

``--params=pair=wan+vggt,preset=paper,align.loop.steps=500`` lies over the files in this order, so that any two networks compose
with either preset, with every environment and with changes of one's own. Of the files, those of ``conf/local`` (what this machine
or user wants) lie over the pairing; those of another environment lie under it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kedro.config import MissingConfigException, OmegaConfigLoader
from omegaconf import OmegaConf

from vist3a import presets

PAIR, PRESET, FOLDER, ALL = "pair", "preset", "presets", "all"
LOCAL = "local"
LAYERS = (PAIR, PRESET)
"""Runtime parameters that are no group of parameters."""
EMBEDDED = "embedded+embedded"
DATA, REPORTS, EMBEDDED_NETWORKS = "data/", "reports/", "data/06_models/embedded"
DETERMINISM = {"algorithms": False, "matmul": "high"}
"""Of public pairings: deterministic algorithms cost much on a GPU, and long trainings do not need the last bit."""

logger = logging.getLogger(__name__)


class LayeredConfigLoader(OmegaConfigLoader):
    """Kedro's loader with a pairing and a preset between the files and the runtime parameters.

    A pairing works in a folder of its own: ``data/wan+vggt`` and ``reports/wan+vggt``. A preset
    (``conf/base/presets/NAME.yml``) holds changes of parameters for ``all`` pairings and, by ``networks.reconstruction.family``,
    for one 3D network.

    Raises:
        ValueError: In one sentence, for a pairing, preset or environment that there is not.
    """

    def __init__(
        self, conf_source: str, env: str | None = None, runtime_params: dict[str, Any] | None = None, **others: Any
    ) -> None:
        given = dict(runtime_params or {})
        if env is not None and not (Path(conf_source) / env).is_dir() and (pairing := _pairing_of(env)) is not None:
            logger.warning("--env=%s is deprecated: write --params=pair=%s", env, pairing)
            if given.setdefault(PAIR, pairing) != pairing:
                raise ValueError(f"pair: {given[PAIR]}, but --env={env} is {pairing}; allowed: one of the two")
            env = None
        base = (others.get("base_env", "base"), others.get("default_run_env", LOCAL))
        # Kedro would not say which environments there are.
        if env is not None and env not in base and not (Path(conf_source) / env).is_dir():
            overlays = sorted(folder.name for folder in Path(conf_source).glob("*/") if folder.name not in base)
            raise ValueError(f"env: {env!r} is no folder of {conf_source}; allowed: {', '.join(overlays) or 'none'}")
        self.pairing = str(given.get(PAIR, EMBEDDED))
        self._preset_of_pair = presets.pair(self.pairing)
        super().__init__(conf_source, env, given, **others)

    @property
    def workspace(self) -> str:
        """Folder of the pairing below ``data`` and ``reports``; empty for the embedded one."""
        return "" if self.pairing == EMBEDDED else f"{self.pairing}/"

    def __getitem__(self, key: str) -> dict[str, Any]:
        """The configuration of ``key`` with all layers."""
        found = super().__getitem__(key)
        if key == "globals":
            size = self._preset_of_pair.get("size")
            return found if size is None else {**found, "size": size}
        if key == "determinism" and self.workspace:
            return presets.merged(found, {"determinism": DETERMINISM})
        if key == "catalog" and self.workspace:
            return {name: self._placed(entry) for name, entry in found.items()}
        return self._with_weights(self._layered(found)) if key == "parameters" else found

    def _layered(self, files: dict[str, Any]) -> dict[str, Any]:
        given, layers = dict(self.runtime_params or {}), dict(self._preset_of_pair)
        layers.pop("size", None)
        found = files
        if layers:
            found = presets.merged(found, layers)
            # The pairing went over all files, so what this machine wants goes on top once more.
            if (self.env or self.default_run_env) == LOCAL:
                found = presets.merged(found, self._local())
        if PRESET in given:
            # Asked only now, as the pairing may have brought another 3D network.
            family, preset = found["networks"]["reconstruction"]["family"], self._preset(str(given[PRESET]))
            if family not in preset:
                raise ValueError(
                    f"preset {given[PRESET]}: it has no settings for the 3D network {family}; allowed: {_families(preset)}"
                )
            # What holds for one 3D network goes over what holds for all.
            found = presets.merged(presets.merged(found, preset[ALL]), preset[family])
        if layers or PRESET in given:
            # Kedro had laid the runtime parameters over the files; now they go over the layers as well.
            merged: Any = OmegaConf.to_container(OmegaConf.merge(found, given))
            found = dict(merged)
        return found

    def _with_weights(self, found: dict[str, Any]) -> dict[str, Any]:
        """With the entries of ``weights.yml`` that the project's own files add or change, where there are any."""
        try:
            own = super().__getitem__("weights")
        except MissingConfigException:
            return found
        return presets.merged({"networks": {"weights": own}}, found) if own else found

    def _local(self) -> dict[str, Any]:
        """What the files of the local environment alone say of parameters."""
        found: dict[str, Any] = {}
        folder = Path(self.conf_source) / LOCAL
        for file in sorted([*folder.glob("parameters*.yml"), *folder.glob("parameters*/**/*.yml")]):
            values: Any = OmegaConf.to_container(OmegaConf.load(file), resolve=True)
            found = presets.merged(found, values or {})
        return found

    def _placed(self, entry: Any) -> Any:
        """The entry of the catalog, its file in the folder of the pairing."""
        file = entry.get("filepath") if isinstance(entry, Mapping) else None
        # The embedded networks belong to no pairing: all find them in one place.
        if not isinstance(file, str) or file.startswith(EMBEDDED_NETWORKS):
            return entry
        for top in (DATA, REPORTS):
            if file.startswith(top):
                return {**entry, "filepath": f"{top}{self.workspace}{file.removeprefix(top)}"}
        return entry

    def _preset(self, name: str) -> dict[str, Any]:
        folder = Path(self.conf_source) / str(self.base_env) / FOLDER
        known = sorted(path.stem for path in folder.glob("*.yml"))
        if name not in known:
            raise ValueError(f"preset: {name!r}; allowed: {', '.join(known) or 'none'}")
        values: Any = OmegaConf.to_container(OmegaConf.load(folder / f"{name}.yml"))
        return dict(values)


def _pairing_of(environment: str) -> str | None:
    """The pairing that an environment of earlier versions named, as ``wan_vggt``."""
    generator, _, network = environment.partition("_")
    known = generator in presets.names("generator_presets") and network in presets.names("network_presets")
    return f"{generator}{presets.JOINED}{network}" if known else None


def _families(preset: dict[str, Any]) -> str:
    return ", ".join(sorted(preset.keys() - {ALL}))

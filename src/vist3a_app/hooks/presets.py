"""Settings of the paper or its code as a layer: ``--params=preset=paper`` lies over the files and under what else is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kedro.config import OmegaConfigLoader
from omegaconf import OmegaConf

KEY, FOLDER, ALL = "preset", "presets", "all"


class PresetConfigLoader(OmegaConfigLoader):
    """Reads ``conf/base/presets/NAME.yml`` when the runtime parameters name it.

    A preset holds changes of parameters for ``all`` pairings and, by ``networks.reconstruction.family``, for one 3D network.
    """

    def __getitem__(self, key: str) -> dict[str, Any]:
        """The configuration of ``key``; ValueError in one sentence for a preset that there is not."""
        found = super().__getitem__(key)
        given = self.runtime_params or {}
        if key != "parameters" or KEY not in given:
            return found
        family = found["networks"]["reconstruction"]["family"]
        preset = self._preset(str(given[KEY]))
        if family not in preset:
            raise ValueError(
                f"preset {given[KEY]}: it has no settings for the 3D network {family}; allowed: {_families(preset)}"
            )
        merged: Any = OmegaConf.to_container(OmegaConf.merge(found, preset[ALL], preset[family], given))
        return dict(merged)

    def _preset(self, name: str) -> dict[str, Any]:
        folder = Path(self.conf_source) / str(self.base_env) / FOLDER
        known = sorted(path.stem for path in folder.glob("*.yml"))
        if name not in known:
            raise ValueError(f"preset: {name!r}; allowed: {', '.join(known) or 'none'}")
        values: Any = OmegaConf.to_container(OmegaConf.load(folder / f"{name}.yml"))
        return dict(values)


def _families(preset: dict[str, Any]) -> str:
    return ", ".join(sorted(preset.keys() - {ALL}))

"""Moments and stitch layers as files: safetensors for numbers, JSON for shapes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from vist3a.records import StitchFit, StitchPoint
from vist3a.runtime.atomic import replacing
from vist3a.stitching.grids import StitchSpec
from vist3a.stitching.moments import Moments
from vist3a.stitching.tap import TapSettings

SPEC, SETTINGS = "spec.json", "tap.json"


def save_spec(folder: Path, spec: StitchSpec) -> None:
    """Write the shape of the stitch layer."""
    (folder / SPEC).write_text(json.dumps(asdict(spec), indent=1) + "\n")


def load_spec(folder: Path) -> StitchSpec:
    """Inverse of :func:`save_spec`."""
    return _spec(json.loads((folder / SPEC).read_text()))


def save_moments(folder: Path, splits: Mapping[str, Moments], settings: TapSettings) -> None:
    """Write one file per split and the description of what was tapped."""
    for name, moments in splits.items():
        save_tensors(folder / f"{name}.safetensors", moments.state())
    (folder / SETTINGS).write_text(json.dumps(asdict(settings), indent=1) + "\n")


def load_moments(folder: Path, device: torch.device) -> tuple[dict[str, Moments], TapSettings]:
    """Inverse of :func:`save_moments`; FileNotFoundError where there are none."""
    settings = load_settings(folder)
    splits = {
        path.stem: Moments.from_state(load_file(path, str(device))) for path in sorted(folder.glob("*.safetensors"))
    }
    return splits, settings


def load_settings(folder: Path) -> TapSettings:
    """What was tapped for the moments in ``folder``; FileNotFoundError where there are none."""
    if not (folder / SETTINGS).is_file():
        raise FileNotFoundError(f"{folder / SETTINGS} is missing; `kedro run --pipelines=extract` writes the moments")
    values: dict[str, Any] = json.loads((folder / SETTINGS).read_text())
    values["points"] = tuple(StitchPoint(**point) for point in values["points"])
    values["spec"] = _spec(values["spec"])
    return TapSettings(**{key: _tupled(value) for key, value in values.items()})


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors of any device; the file appears whole or not at all."""
    with replacing(path) as temporary:
        save_file({key: value.cpu().contiguous() for key, value in tensors.items()}, temporary)


def save_fit(folder: Path, fit: StitchFit, spec: StitchSpec) -> None:
    """Write a stitch layer."""
    tensors = {"weight": fit.weight, "bias": fit.bias, "special_tokens": fit.special_tokens}
    for key in ("position_bias", "latent_statistics"):
        if getattr(fit, key) is not None:
            tensors[key] = getattr(fit, key)
    # repr of a float is read back to its last bit.
    metadata = {"point": fit.point, "ridge": repr(fit.ridge)}
    save_file({k: v.cpu().contiguous() for k, v in tensors.items()}, folder / "stitch.safetensors", metadata)
    save_spec(folder, spec)


def load_fit(folder: Path) -> tuple[StitchFit, StitchSpec]:
    """Inverse of :func:`save_fit`."""
    from safetensors import safe_open

    path = folder / "stitch.safetensors"
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    fit = StitchFit(
        point=metadata["point"],
        weight=tensors["weight"],
        bias=tensors["bias"],
        position_bias=tensors.get("position_bias"),
        special_tokens=tensors["special_tokens"],
        ridge=float(metadata["ridge"]),
        latent_statistics=tensors.get("latent_statistics"),
    )
    return fit, load_spec(folder)


def _spec(values: Mapping[str, Any]) -> StitchSpec:
    return StitchSpec(**{key: _tupled(value) for key, value in values.items()})


def _tupled(value: Any) -> Any:
    # JSON knows no tuples, which settings are made of.
    return tuple(value) if isinstance(value, list) else value

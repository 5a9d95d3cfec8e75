"""Moments and stitch layers as files: safetensors for numbers, JSON for shapes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from vist3a.records import StitchFit, StitchPoint
from vist3a.stitching.grids import StitchSpec
from vist3a.stitching.moments import Moments

SPEC, POINTS = "spec.json", "points.json"


def save_spec(folder: Path, spec: StitchSpec) -> None:
    """Write the shape of the stitch layer."""
    (folder / SPEC).write_text(json.dumps(asdict(spec), indent=1) + "\n")


def load_spec(folder: Path) -> StitchSpec:
    """Inverse of :func:`save_spec`."""
    values: dict[str, Any] = json.loads((folder / SPEC).read_text())
    return StitchSpec(**{k: _tupled(v) for k, v in values.items()})


def _tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def save_moments(
    folder: Path,
    splits: Mapping[str, Moments],
    spec: StitchSpec,
    points: list[StitchPoint],
    token_grid: tuple[int, int],
) -> None:
    """Write one file per split and the description of what was tapped."""
    for name, moments in splits.items():
        tensors = {key: value.cpu().contiguous() for key, value in moments.state().items()}
        save_file(tensors, folder / f"{name}.safetensors")
    save_spec(folder, spec)
    described = {"token_grid": token_grid, "points": [asdict(point) for point in points]}
    (folder / POINTS).write_text(json.dumps(described, indent=1) + "\n")


def load_moments(folder: Path) -> tuple[dict[str, Moments], StitchSpec, list[StitchPoint], tuple[int, int]]:
    """Inverse of :func:`save_moments`."""
    described = json.loads((folder / POINTS).read_text())
    splits = {path.stem: Moments.from_state(load_file(path)) for path in sorted(folder.glob("*.safetensors"))}
    rows, columns = described["token_grid"]
    return splits, load_spec(folder), [StitchPoint(**point) for point in described["points"]], (rows, columns)


def save_fit(folder: Path, fit: StitchFit, spec: StitchSpec) -> None:
    """Write a stitch layer."""
    tensors = {"weight": fit.weight, "bias": fit.bias, "special_tokens": fit.special_tokens}
    if fit.position_bias is not None:
        tensors["position_bias"] = fit.position_bias
    metadata = {"point": fit.point, "ridge": repr(fit.ridge)}
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / "stitch.safetensors", metadata)
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
    )
    return fit, load_spec(folder)

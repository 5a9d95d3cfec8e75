"""A folder with all that generation needs, to be loaded elsewhere: parameters, stitched decoder, adapter, and small networks.

Networks that are larger than a limit, or not folders, stay where they are: the bundle then names their place.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from vist3a.generation.text_to_3d import TextTo3D
from vist3a_app.pipelines.generate.loading import load_text_to_3d
from vist3a_app.pipelines.generate.params import GenerateParams
from vist3a_app.pipelines.networks import Networks

PARAMETERS = "parameters.json"
COPIED_BYTES = 512 * 2**20
"""Folders up to this size are copied."""


def save_bundle(
    folder: Path,
    params: GenerateParams,
    networks: Networks,
    stitched_decoder: Path,
    aligned_generator: Path,
) -> None:
    """Write a bundle into an empty folder."""
    shutil.copytree(stitched_decoder, folder / "stitched_decoder")
    if params.aligned:
        shutil.copytree(aligned_generator, folder / "aligned_generator")
    groups = {
        "generate": params.model_dump(mode="json") | {"prompt": None, "prompts_file": None},
        "networks": networks.model_dump(mode="json"),
    }
    for name, group, key in (
        ("generator", groups["networks"]["generator"], "source"),
        ("reconstruction", groups["networks"]["reconstruction"], "source"),
        ("scorer", groups["generate"], "scorer"),
    ):
        group[key] = _packed(folder, name, group[key])
    (folder / PARAMETERS).write_text(json.dumps(groups, indent=1) + "\n")


def load_bundle(folder: Path) -> TextTo3D:
    """Networks of a bundle, on CUDA where there is one and the bundle does not say otherwise."""
    file = folder / PARAMETERS
    if not file.is_file():
        raise FileNotFoundError(f"{folder} holds no {PARAMETERS}, so it is no bundle of vist3a")
    groups = json.loads(file.read_text())
    for group, key in (
        (groups["networks"]["generator"], "source"),
        (groups["networks"]["reconstruction"], "source"),
        (groups["generate"], "scorer"),
    ):
        if group[key] is not None and (folder / group[key]).exists():
            group[key] = str(folder / group[key])
    return load_text_to_3d(
        GenerateParams(**groups["generate"]),
        Networks(**groups["networks"]),
        folder / "stitched_decoder",
        folder / "aligned_generator",
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

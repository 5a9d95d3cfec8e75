"""The model card of the embedded networks."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from vist3a_lab.pipelines.pretrain.building import RECORD
from vist3a_lab.pipelines.pretrain.params import PretrainParams
from vist3a_lab.pipelines.validate_embedded.params import ValidateEmbeddedParams

CARD = """# Embedded networks

Small networks of the published architectures, trained from scratch on this project's procedural world
(`kedro run --pipelines=pretrain`). They exist so that the whole chain runs for real without any download; they know spheres,
cubes, cylinders and cones on a ground at {size}x{size} px and {frames} frames, and nothing else.

| network | architecture | seed | steps done | steps planned |
|---|---|---|---|---|
{networks}

## Held-out figures

Written by `kedro run --pipelines=validate_embedded`, which measures the stored files on {scenes} scenes and {prompts} prompts
per text task, of seed {seed}, which nothing was trained on. Every `text.*` figure is the verdict of the judge, whose own
accuracy on as many true renders stands under the same name in `judge.*`; `judge.accuracy_true_renders` is their mean.
PSNR in dB; novel views are views that were not given, rendered with predicted poses.

| figure | value |
|---|---|
{figures}

## Pictures

Given view, the autoencoder's copy, a view that was not given, and its rendering; two scenes a row; the best {pictures} novel
views of the {scenes} scenes first, then the worst {pictures}:

![geometry](embedded_geometry.png)

First frames of generated clips, a row each for one object, two objects, a stated relation: left the first {pictures} that
the judge finds right, right the first {pictures} that it finds wrong (fewer where there are not as many):

![text](embedded_text.png)

## Files

| file | sha256 |
|---|---|
{files}

Licence: Apache-2.0, as the project. The scenes are synthetic; no third-party data or weights went in.
"""
ARCHITECTURES = {
    "generator/vae": "Wan 2.1 autoencoder",
    "generator": "Wan 2.1 denoiser, UMT5 text encoder",
    "reconstruction": "AnySplat",
    "reward_scorer": "dual encoder, convolutional",
    "judge": "dual encoder, hybrid, attribute heads",
}


def write_card(
    params: ValidateEmbeddedParams, pretrain: PretrainParams, report: dict[str, Any], generator: Path, *others: Path
) -> str:
    """The card of the networks whose folders lie beside ``generator``."""
    root = generator.parent
    networks = []
    for name, architecture in ARCHITECTURES.items():
        record = json.loads((root / name / RECORD).read_text(encoding="utf-8"))
        # A second round of training keeps the record of the first under "start".
        rounds = [record["start"], record] if "start" in record else [record]
        columns = [", then ".join(str(r[key]) for r in rounds) for key in ("seed", "steps", "planned_steps")]
        networks.append(f"| {name} | {architecture} | {' | '.join(columns)} |")
    figures = [f"| {part}.{name} | {value:.4f} |" for part, row in report.items() for name, value in row.items()]
    files = [
        f"| {file.relative_to(root).as_posix()} | `{hashlib.sha256(file.read_bytes()).hexdigest()}` |"
        for folder in (generator, *others)
        for file in sorted(folder.rglob("*.safetensors"))
    ]
    return CARD.format(
        size=pretrain.size,
        frames=pretrain.frames,
        networks="\n".join(networks),
        figures="\n".join(figures),
        files="\n".join(files),
        **params.model_dump(),
    )

"""Prompts -> 3D assets."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vist3a.export.video import image_sheet
from vist3a.pipelines.distill.params import DistillParams
from vist3a.pipelines.generate.loading import load_text_to_3d
from vist3a.pipelines.generate.params import GenerateParams
from vist3a.pipelines.networks import Networks
from vist3a.scenes.prompt_list import read_prompts
from vist3a.training.step_log import step_log

logger = logging.getLogger(__name__)


def generate_scenes(
    params: GenerateParams,
    distill: DistillParams,
    networks: Networks,
    stitched_decoder: Path,
    aligned_generator: Path,
    output: Path,
) -> tuple[dict[str, Any], Tensor, Callable[[Path], None]]:
    """Writes one folder per prompt into ``output`` (folders of other prompts stay); returns what was written, a picture and
    the first viewers.
    """
    if params.prompts_file is None and not (params.prompt or "").strip():
        raise ValueError("generate.prompt is empty; give a text, or generate.prompts_file with one prompt per line")
    prompts = [str(params.prompt)] if params.prompts_file is None else read_prompts(Path(params.prompts_file))
    text_to_3d = load_text_to_3d(params, distill, networks, stitched_decoder, aligned_generator)
    scenes, rows, viewers, scores = {}, [], {}, []
    log = step_log("generate")
    for place, scene in enumerate(text_to_3d.generate_all(prompts)):
        prompt = scene.caption.prompt
        paths = scene.save(output)
        logger.info(
            "%r is in %s: %s", prompt[:100], output / scene.name, ", ".join(path.name for path in paths.values())
        )
        files = {name: path.as_posix() for name, path in paths.items()}
        scores.append({name: value for name, value in scene.caption.facts.items() if isinstance(value, float)})
        log(place, scores[-1])
        scenes[prompt] = {**scene.caption.facts, "name": scene.name, "files": files}
        rows.append(scene.picture())
        viewers[scene.name] = paths["viewer"]
    step_log("generate/mean")(0, {name: sum(row[name] for row in scores) / len(scores) for name in scores[0]})
    recorded = dict(list(viewers.items())[: params.recorded_viewers])
    if len(recorded) < len(viewers):
        logger.info("%d of %d viewers go into the record (generate.recorded_viewers)", len(recorded), len(viewers))

    def copy(folder: Path) -> None:
        for name, viewer in recorded.items():
            shutil.copyfile(viewer, folder / f"{name}.html")

    return {"scenes": scenes}, image_sheet(torch.stack(rows), columns=1), copy

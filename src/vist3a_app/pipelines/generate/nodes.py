"""Prompts -> 3D assets."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vist3a.data.picture import read_picture
from vist3a.export.video import image_sheet
from vist3a.runtime.step_log import step_log
from vist3a.runtime.workers.settings import WorkerSettings
from vist3a_app.pipelines.generate.kept_scene import kept_scenes
from vist3a_app.pipelines.generate.many_scenes import make_scenes, scores_of, state_folder
from vist3a_app.pipelines.generate.params import GenerateParams
from vist3a_app.pipelines.generate.requests import requests
from vist3a_app.pipelines.networks import Networks
from vist3a_app.pipelines.workers import Workers

logger = logging.getLogger(__name__)

SHEET_SCENES = 64
"""Scenes in the picture at most."""


def generate_scenes(
    params: GenerateParams,
    networks: Networks,
    workers: Workers,
    stitched_decoder: Path,
    aligned_generator: Path,
    output: Path,
    text_embeddings: Path,
    checkpoints: Path,
) -> tuple[dict[str, Any], Tensor, Callable[[Path], None]]:
    """Writes one folder per prompt into ``output`` (folders of other prompts stay); returns what was written, a picture and
    the first viewers.
    """
    chosen = workers.part(WorkerSettings)
    asked = requests(params, networks, text_embeddings, chosen)
    state = state_folder(params, networks, stitched_decoder, aligned_generator, asked, checkpoints)
    kept = kept_scenes(asked.names, params.seed, state, output)
    scenes, quarantined = make_scenes(params, networks, stitched_decoder, aligned_generator, asked, kept, chosen)
    _log_mean(list(scenes.values()))
    shown = [scene for scene in kept if scene.prompt in scenes]
    recorded = shown[: params.recorded_viewers] if params.viewer else []
    if params.viewer and len(recorded) < len(shown):
        logger.info("%d of %d viewers go into the record (generate.recorded_viewers)", len(recorded), len(shown))

    def copy(folder: Path) -> None:
        for scene in recorded:
            viewer = scenes[scene.prompt]["files"]["viewer"]
            shutil.copyfile(viewer, folder / f"{scene.folder.name}.html")
        # What has failed is tried again, alone, by the same command.
        if not quarantined:
            shutil.rmtree(state, ignore_errors=True)

    report = {"scenes": scenes} | ({"quarantined": quarantined} if quarantined else {})
    return report, _sheet([scenes[scene.prompt]["files"]["picture"] for scene in shown[:SHEET_SCENES]]), copy


def _sheet(pictures: list[str]) -> Tensor:
    rows = [read_picture(Path(picture), upright=False).float() / 255 for picture in pictures]
    return image_sheet(torch.stack(rows), columns=1)


def _log_mean(records: list[dict[str, Any]]) -> None:
    rows = [scores_of(record) for record in records]
    step_log("generate/mean")(0, {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]})

"""Many scenes through workers: what is finished is taken up, what fails is quarantined with its reason."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from vist3a.runtime.device import resolve_device
from vist3a.runtime.run_folder import run_folder
from vist3a.runtime.step_log import step_log
from vist3a.runtime.workers.settings import WorkerSettings
from vist3a.runtime.workers.work import Failed
from vist3a.runtime.workers.working import working
from vist3a_app.pipelines.generate.kept_scene import KeptScene
from vist3a_app.pipelines.generate.params import GenerateParams
from vist3a_app.pipelines.generate.requests import Requests
from vist3a_app.pipelines.generate.scene_work import decoding, sampling
from vist3a_app.pipelines.networks import Networks

logger = logging.getLogger(__name__)


def state_folder(
    params: GenerateParams,
    networks: Networks,
    stitched_decoder: Path,
    aligned_generator: Path,
    asked: Requests,
    checkpoints: Path,
) -> Path:
    """Where an unfinished run keeps its state: named by all that changes a scene, of which the prompts are no part."""
    # Scenes do not depend on each other: with a longer list of prompts the finished ones stay finished.
    settings = params.model_dump_json(exclude={"prompt", "prompts_file", "image", "recorded_viewers"})
    given = (params.adapter, params.released_decoder, params.scorer)
    folders = [stitched_decoder, aligned_generator, *(Path(place) for place in given if place is not None)]
    return run_folder(
        checkpoints, "generate", settings, networks.model_dump_json(), repr(networks.pairing), repr(networks.denoiser),
        asked.about, *(folder for folder in folders if folder.exists()),
    )  # fmt: skip


def make_scenes(
    params: GenerateParams,
    networks: Networks,
    stitched_decoder: Path,
    aligned_generator: Path,
    asked: Requests,
    kept: Sequence[KeptScene],
    workers: WorkerSettings,
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Facts, name and files of every scene by its prompt, in their order, and the reasons of those that failed.

    Raises:
        Exception: What the first scene failed with, where none at all was made.
    """
    log, place_of = step_log("generate"), {scene.prompt: place for place, scene in enumerate(kept)}
    cuda = resolve_device(networks.device).type == "cuda"
    found = {scene.prompt: record for scene in kept if (record := scene.record()) is not None}
    failed: dict[str, Failed] = {}
    missing = [scene for scene in kept if scene.prompt not in found]
    if found:
        for prompt, record in found.items():
            log(place_of[prompt], scores_of(record))
        logger.info("generate: %d of %d scenes are there from an earlier run", len(found), len(kept))
    unsampled = [scene for scene in missing if not scene.has_latents]
    load = partial(sampling, params, networks, stitched_decoder, aligned_generator, asked)
    steps, there = len(kept) * params.steps, (len(kept) - len(unsampled)) * params.steps
    with working("denoise", load, unsampled, workers, total=steps, before=there, cuda=cuda) as outcomes:
        for scene, sampled in outcomes:
            if isinstance(sampled, Failed):
                failed[scene.prompt] = sampled
    sampled_ones = [scene for scene in missing if scene.prompt not in failed]
    decode, scenes = partial(decoding, params, networks, stitched_decoder), len(kept) - len(failed)
    with working("decode", decode, sampled_ones, workers, total=scenes, before=len(found), cuda=cuda) as decoded:
        for scene, made in decoded:
            if isinstance(made, Failed):
                failed[scene.prompt] = made
                continue
            found[scene.prompt] = made.value
            log(place_of[scene.prompt], scores_of(made.value))
            names = ", ".join(Path(file).name for file in made.value["files"].values())
            logger.info("%r is in %s: %s", scene.prompt[:100], scene.folder, names)
    if failed and not found:
        raise next(iter(failed.values())).error
    for prompt, why in failed.items():
        logger.warning("quarantined %r: %s", prompt[:100], why.reason)
    return {scene.prompt: found[scene.prompt] for scene in kept if scene.prompt in found}, {
        prompt: why.reason for prompt, why in failed.items()
    }


def scores_of(record: Mapping[str, Any]) -> dict[str, float]:
    """The figures among the facts of a scene."""
    return {fact: value for fact, value in record.items() if isinstance(value, float)}

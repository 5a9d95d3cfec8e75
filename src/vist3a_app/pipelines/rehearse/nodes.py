"""Parameters of the real stages -> a rehearsal of them."""

from __future__ import annotations

import logging
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from vist3a.runtime.device import resolve_device
from vist3a.sampling.sampling import SamplingConfig
from vist3a.stitching.extract import TapConfig
from vist3a_app.pipelines.align.params import AlignParams
from vist3a_app.pipelines.distill.params import DistillParams
from vist3a_app.pipelines.extract.params import ExtractParams
from vist3a_app.pipelines.generate.params import GenerateParams
from vist3a_app.pipelines.networks import Networks
from vist3a_app.pipelines.rehearse.params import RehearseParams
from vist3a_app.rehearsal import Pairing, Shapes, as_table, rehearse

logger = logging.getLogger(__name__)


def rehearse_pairing(
    params: RehearseParams,
    networks: Networks,
    extract: ExtractParams,
    distill: DistillParams,
    align: AlignParams,
    generate: GenerateParams,
    folder: Path,
) -> dict[str, Any]:
    """Runs one step of every stage, logs the table, returns the numbers."""
    generator, network = networks.generator, networks.reconstruction
    public = networks.known.generators.get(generator.source)
    known = networks.known.networks.get(network.source)
    pairing = Pairing(
        generator_family=generator.family,
        generator=generator.source,
        reconstruction_family=network.family,
        # Sizes are stated by configuration; a name of weights.yml stands for one.
        reconstruction=network.source if known is None else known.config,
        generator_dtype=generator.dtype,
        stored="float32" if public is None else public.stored,
        dtype=network.dtype,
        scene=network.size,
        max_text_tokens=generator.max_text_tokens,
    )
    shapes = Shapes(
        sampling=replace(generate.part(SamplingConfig), steps=params.steps),
        # Of a clip of noise all frames are seen, in the mode.
        tap=TapConfig(kernel=extract.kernel),
        kinds=extract.kinds,
        distill_weights=distill.weights,
        lora_targets=align.lora_targets,
    )
    found = rehearse(pairing, shapes, folder, resolve_device(networks.device), params.stages, log=logger.info)
    logger.info("rehearsal of %s and %s\n%s", generator.source, network.source, as_table(found))
    return {
        "device": found.device,
        "device_gib": found.device_gib,
        "download_gb": found.download_bytes / 1e9,
        "disk_gb": found.disk_bytes / 1e9,
        "fits": found.fits,
        "stages": {name.replace(" ", "_"): asdict(stage) for name, stage in found.stages.items()},
    }

"""Published few-step adapters: one file of LoRA weights becomes a folder that also knows its scheduler."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vist3a.adapters.adapter_file import PREFIX, read_adapter
from vist3a.adapters.lora import CONFIG, WEIGHTS
from vist3a.runtime.atomic import replacing
from vist3a.shortening.artifact import FILE, Shortened, write_scheduler
from vist3a.weights import artifact_file
from vist3a.weights.identity import Identity


def adopt(
    file: Path, folder: Path, denoiser: Any, identity: Identity, *, counts: Sequence[int], scheduler: Any
) -> None:
    """Write a published adapter as :func:`vist3a.shortening.artifact.load_shortened` reads it.

    Names may be PEFT's, diffusers', kohya's, or those of Wan's original code. It is used without guidance of its own.

    Args:
        file: The safetensors file.
        folder: What is written.
        denoiser: The network that it is for, of which the names of layers are read.
        identity: Which network that is.
        counts: Numbers of steps that it was published for.
        scheduler: The one that goes with it, as :func:`vist3a.shortening.shorten.flow_map_scheduler` (Euler steps at
            equidistant levels under a shift, 5 for most of those for Wan 2.1).

    Raises:
        ValueError: The file is damaged, of another network, or changes more than LoRA can.

    Example:
        >>> adopt(Path("few_steps.safetensors"), Path("short"), generator.denoiser, identity, counts=(4,),
        ...       scheduler=flow_map_scheduler(5.0))
        >>> load_shortened(generator, Path("short"), identity)
    """
    from safetensors.torch import save_file

    stored = read_adapter(file, [name for name, _ in denoiser.named_modules()])
    ranks = {key.split(".lora_A")[0]: len(value) for key, value in stored.weights.items() if ".lora_A" in key}
    # What states no alpha is meant as it is: strength 1.
    alphas = {layer: stored.alphas.get(layer, float(rank)) for layer, rank in ranks.items()}
    first = next(iter(ranks.values()))
    settings = {
        "peft_type": "LORA", "r": first, "lora_alpha": first, "rank_pattern": ranks, "alpha_pattern": alphas,
        "target_modules": sorted(ranks),
    }  # fmt: skip
    with replacing(folder / CONFIG) as text, replacing(folder / WEIGHTS) as weights:
        text.write_text(json.dumps(settings, indent=1, sort_keys=True) + "\n")
        save_file({f"{PREFIX}{key}": value.contiguous() for key, value in stored.weights.items()}, weights)
    write_scheduler(folder, scheduler)
    told = Shortened(identity, tuple(counts), 1.0, artifact_file.code_version())
    artifact_file.write_artifact(folder / FILE, asdict(told))

"""A shortened generator as a folder that knows itself: adapter, embedding of step lengths, scheduler, and whose they are.

``adapter_config.json`` and ``adapter_model.safetensors`` are PEFT's layout, ``scheduler_config.json`` is diffusers'; other
programs read both. ``step_length.safetensors`` holds the embedding, where the denoiser learned one: published adapters have none.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vist3a.adapters.lora import fold_lora, load_lora, save_lora
from vist3a.generators.base import VideoGenerator
from vist3a.runtime.atomic import replacing
from vist3a.weights import artifact_file
from vist3a.weights.identity import Identity, check_same

FILE, FORMAT = "shortened.json", 1
LENGTHS, SCHEDULER = "step_length.safetensors", "scheduler_config.json"
SCHEDULERS = ("FlowMapEulerDiscreteScheduler", "FlowMatchEulerDiscreteScheduler", "UniPCMultistepScheduler")
"""Schedulers of diffusers that may go with a few-step generator."""


@dataclass(frozen=True)
class Shortened:
    """What ``shortened.json`` says.

    Attributes:
        denoiser: The network that was shortened.
        counts: Numbers of steps that it is meant for.
        only_guidance: The guidance that it is used with: 1 where the original's is inside.
        version: Of the code that wrote it.
        format: Of the file.
    """

    denoiser: Identity
    counts: tuple[int, ...]
    only_guidance: float
    version: str
    format: int = FORMAT


def save_shortened(folder: Path, generator: VideoGenerator, denoiser: Identity, counts: Sequence[int]) -> None:
    """Write the adapter of a shortened generator and what goes with it.

    Example:
        >>> shorten(generator, data, settings)
        >>> save_shortened(Path("shortened"), generator, denoiser, settings.counts)
    """
    from safetensors.torch import save_file

    guidance = generator.only_guidance
    if guidance is None:
        raise ValueError("this generator was not shortened; allowed: one that vist3a.shortening.shorten has trained")
    save_lora(generator.denoiser, folder)
    if generator.TIME_EMBEDDER:
        state = generator.learn_lengths().length.state_dict()
        with replacing(folder / LENGTHS) as partial:
            save_file({name: value.detach().cpu().contiguous() for name, value in state.items()}, partial)
    write_scheduler(folder, generator._part("scheduler"))
    told = Shortened(denoiser, tuple(counts), guidance, artifact_file.code_version())
    artifact_file.write_artifact(folder / FILE, asdict(told))


def write_scheduler(folder: Path, scheduler: Any) -> None:
    """Write the configuration of a scheduler as diffusers does."""
    with replacing(folder / SCHEDULER) as partial:
        partial.write_text(json.dumps({**scheduler.config, "_class_name": type(scheduler).__name__}, indent=1) + "\n")


def load_shortened(generator: VideoGenerator, folder: Path, wanted: Identity | None = None) -> Shortened:
    """Make a generator one of few steps: the adapter becomes part of its weights, the scheduler its own.

    The adapter is added in float32 and rounded to the type of the weights, so that alignment can put another one beside it.

    Args:
        generator: With its denoiser, frozen.
        folder: As :func:`save_shortened` wrote it.
        wanted: The denoiser, as its weights say; None: not looked at.

    Raises:
        FileNotFoundError: The folder holds no shortened generator.
        ValueError: It is of another denoiser, damaged, or names a scheduler that is not known.
    """
    told = read_shortened(folder)
    if wanted is not None:
        check_same(
            f"{folder} is a shortening", "denoiser", told.denoiser, wanted, "`kedro run --pipelines=shorten` anew"
        )
    scheduler = read_scheduler(folder)
    load_lora(generator.denoiser, folder)
    fold_lora(generator.denoiser)
    if (folder / LENGTHS).is_file():
        _load_lengths(generator, folder / LENGTHS)
    generator.scheduler, generator.only_guidance = scheduler, told.only_guidance
    return told


def read_shortened(folder: Path) -> Shortened:
    """What the folder says of itself.

    Raises:
        FileNotFoundError: It holds no ``shortened.json``.
        ValueError: That is damaged or of a newer format.
    """
    values = artifact_file.read_artifact(folder / FILE, FORMAT)
    if values is None:
        raise FileNotFoundError(
            f"{folder} holds no {FILE}; allowed: what `kedro run --pipelines=shorten` leaves, or null for the generator as it is"
        )
    denoiser, counts = Identity(**values.pop("denoiser")), tuple(values.pop("counts"))
    return Shortened(denoiser=denoiser, counts=counts, **values)


def read_scheduler(folder: Path) -> Any:
    """The scheduler of ``scheduler_config.json``."""
    import diffusers

    file = folder / SCHEDULER
    if not file.is_file():
        raise FileNotFoundError(f"{folder} holds no {SCHEDULER}; allowed: the folder as it was written")
    config = json.loads(file.read_text(encoding="utf-8"))
    name = config.get("_class_name")
    if name not in SCHEDULERS:
        raise ValueError(f"{file}: scheduler {name!r}; allowed: {', '.join(SCHEDULERS)}")
    return getattr(diffusers, name).from_config(config)


def _load_lengths(generator: VideoGenerator, file: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    embedding = generator.learn_lengths().length
    try:
        embedding.load_state_dict(load_file(file))
    except SafetensorError as error:
        raise ValueError(f"{file} is no whole safetensors file ({error})") from error
    except RuntimeError as error:
        shape = " ".join(str(error).split("\n")[-1].split())
        raise ValueError(f"{file}: the embedding of step lengths is of another denoiser: {shape}") from error
    embedding.requires_grad_(False)

"""All stages one after the other, each from the files that the one before wrote."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import torch

from vist3a.pairing import load_generator, load_reconstruction
from vist3a_app.rehearsal.measuring import GIB, Measured, measure
from vist3a_app.rehearsal.stages import Shapes, Stages
from vist3a_app.rehearsal.weights import (
    download_bytes,
    reconstruction_bytes,
    write_generator,
    write_reconstruction,
)

# Every stage, in order, and what it reads of those before it.
NEEDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "embed": (),
        "extract": (),
        "score": ("extract",),
        "distill": ("score",),
        "align": ("embed", "score"),
        "generate": ("embed", "score"),
    }
)
STAGES = tuple(NEEDS)


@dataclass(frozen=True)
class Pairing:
    """Two networks by the names of their published sizes, or by folders, which are then taken as they are.

    ``stored`` is the numeric type of the generator's published files; ``scene`` (height, width) is what the 3D network sees
    (None: what the generator sees); the rest is as in ``load_generator`` and ``load_reconstruction``.
    """

    generator_family: str
    generator: str
    reconstruction_family: str
    reconstruction: str
    generator_dtype: str = "bfloat16"
    stored: str = "float32"
    dtype: str = "float32"
    scene: tuple[int, int] | None = None
    max_text_tokens: int | None = None


@dataclass(frozen=True)
class Rehearsal:
    """What was measured: stages in their order, the device, and what the published weights would take (0 for folders)."""

    device: str
    device_gib: float
    stages: Mapping[str, Measured]
    download_bytes: int
    disk_bytes: int

    @property
    def fits(self) -> bool:
        """Whether every stage that was tried ended."""
        return all(stage.done for stage in self.stages.values())


def rehearse(
    pairing: Pairing,
    shapes: Shapes,
    folder: Path,
    device: torch.device,
    stages: Sequence[str] = STAGES,
    log: Callable[[str], None] = print,
) -> Rehearsal:
    """Write random weights, load them as published ones are, run one step of ``stages``; ``folder`` is removed at the end.

    A stage that lacks memory is reported, and the others go on as far as they can without it.
    """
    if unknown := sorted(set(stages) - set(STAGES)):
        raise ValueError(f"rehearse.stages: {', '.join(unknown)}; allowed: {', '.join(STAGES)}")
    folder.mkdir(parents=True, exist_ok=True)
    done: dict[str, Measured] = {}

    def run(name: str, work: Callable[[], str]) -> None:
        done[name] = measure(work, device)
        result = done[name]
        log(
            f"{name}: {result.seconds:.1f} s, device {result.device_gib:.1f} GiB, host {result.host_gib:.1f} GiB; {result.note}"
        )

    try:
        generator, download = pairing.generator, 0
        if not Path(generator).is_dir():
            generator = str(folder / "generator")
            dtype: torch.dtype = getattr(torch, pairing.generator_dtype)
            family = pairing.generator_family
            run("write generator", lambda: write_generator(family, pairing.generator, Path(generator), dtype, device))
            download += download_bytes(family, pairing.generator, pairing.stored)
        network = pairing.reconstruction
        if not Path(network).is_dir():
            network = str(folder / "reconstruction")
            kind = pairing.reconstruction_family
            run("write 3D network", lambda: write_reconstruction(kind, pairing.reconstruction, Path(network), device))
            download += reconstruction_bytes(kind, pairing.reconstruction)
        parts = Stages(
            load_generator=lambda *wanted: load_generator(
                pairing.generator_family,
                generator,
                revision=None,
                parts=wanted,
                dtype=pairing.generator_dtype,
                device=device,
                max_text_tokens=pairing.max_text_tokens,
            ),
            load_reconstruction=lambda: load_reconstruction(
                pairing.reconstruction_family,
                network,
                dtype=pairing.dtype,
                device=device,
                size=pairing.scene,
            ),
            source=generator,
            shapes=shapes,
            folder=folder,
            device=device,
        )
        # In the order of the chain, whatever the order that was asked for.
        for name in STAGES:
            lacking = [needed for needed in NEEDS[name] if needed not in done or not done[needed].done]
            if name in stages and lacking:
                done[name] = Measured(0.0, 0.0, 0.0, False, f"not tried: it needs {', '.join(lacking)}")
            elif name in stages:
                run(name, getattr(parts, name))
                gc.collect()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    memory, label = 0.0, "CPU"
    if device.type == "cuda":
        memory, label = torch.cuda.get_device_properties(device).total_memory / GIB, torch.cuda.get_device_name(device)
    return Rehearsal(label, memory, done, download, download)

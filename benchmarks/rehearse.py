"""A rehearsal of a published pairing without Kedro: full-size networks with random weights, one step of every stage.

    python benchmarks/rehearse.py wan+anysplat --out rehearsal.json
    python benchmarks/rehearse.py wan14b+anysplat --stages embed extract score generate --steps 1 --out rehearsal.json
    python benchmarks/rehearse.py wan+anysplat --tiny --out rehearsal.json     # the same code on tiny networks

The same as `kedro run --pipelines=rehearse --params=pair=wan+anysplat`, for machines that have only the numerical packages.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
import yaml

from vist3a import presets, registry
from vist3a.distillation.distill_loss import DistillWeights
from vist3a.generators.published import Part
from vist3a.sampling.sampling import SamplingConfig
from vist3a.stitching.extract import TapConfig
from vist3a.weights.known import KnownWeights
from vist3a_app.rehearsal import STAGES, Pairing, Shapes, as_table, rehearse

CONF = Path(__file__).resolve().parents[1] / "conf"
TARGETS = ("to_q", "to_k", "to_v", "to_out.0")


def read(name: str) -> Any:
    """One file of the configuration."""
    return yaml.safe_load((CONF / name).read_text())


def pairing_of(name: str, steps: int) -> tuple[Pairing, Shapes]:
    """What the presets of a pairing say."""
    known, preset = KnownWeights.read(), presets.pair(name)
    settings, network = preset["networks"]["generator"], preset["networks"]["reconstruction"]
    side, seen = preset["size"], network["size"]
    pairing = Pairing(
        generator_family=settings["family"],
        generator=settings["source"],
        reconstruction_family=network["family"],
        reconstruction=known.networks[network["source"]].config,
        generator_dtype=settings["dtype"],
        stored=known.generators[settings["source"]].stored,
        dtype=network["dtype"],
        scene=(seen[0], seen[1]),
    )
    kernel, sampling = preset["extract"]["kernel"], preset["generate"]
    shapes = Shapes(
        sampling=SamplingConfig(
            steps=steps,
            guidance=sampling["guidance"],
            frames=read("base/globals.yml")["frames"],
            height=side,
            width=side,
            flow_shift=sampling["flow_shift"],
        ),
        tap=TapConfig(kernel=(kernel[0], kernel[1], kernel[2])),
        kinds=tuple(read("base/parameters/extract.yml")["extract"]["kinds"]),
        distill_weights=DistillWeights(**preset["distill"]["weights"]),
        lora_targets=TARGETS,
    )
    return pairing, shapes


def shrink(pairing: Pairing, shapes: Shapes) -> tuple[Pairing, Shapes]:
    """Tiny networks under the published names, and tiny shapes: Wan and AnySplat only."""
    from generate import TINY  # the benchmark beside this one

    text = {"vocab_size": 16, "d_model": 32, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}
    parts = {**TINY.parts, "text_encoder": Part("transformers", "UMT5EncoderModel", text)}
    registry.find("generators", "wan").published = {pairing.generator: parts}
    registry.find("networks", "anysplat").published = {pairing.reconstruction: TINY.network}
    tiny = replace(pairing, generator_dtype="float32", scene=(TINY.scene, TINY.scene), max_text_tokens=8)
    sampling = replace(shapes.sampling, frames=TINY.frames, height=TINY.video, width=TINY.video)
    return tiny, replace(shapes, sampling=sampling)


def main() -> int:
    """Rehearse, print the table, write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("pairing", help="generator and 3D network, e.g. wan+anysplat")
    parser.add_argument("--out", type=Path, required=True, help="JSON with all numbers")
    parser.add_argument("--folder", type=Path, help="for the random weights; a temporary one by default")
    parser.add_argument("--stages", nargs="+", default=list(STAGES), choices=STAGES)
    parser.add_argument("--steps", type=int, default=3, help="denoising steps")
    parser.add_argument("--tiny", action="store_true", help="tiny networks (wan+anysplat only)")
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_float32_matmul_precision("high")
    pairing, shapes = pairing_of(arguments.pairing, arguments.steps)
    if arguments.tiny:
        pairing, shapes = shrink(pairing, shapes)
    start = time.perf_counter()
    folder = arguments.folder or Path(tempfile.mkdtemp())
    found = rehearse(pairing, shapes, folder, device, arguments.stages, log=lambda line: print(line, flush=True))
    print(f"\n{arguments.pairing}\n{as_table(found)}\nin all {time.perf_counter() - start:.0f} s")
    report = {"pairing": arguments.pairing, "fits": found.fits, **asdict(found)}
    arguments.out.write_text(json.dumps(report, indent=1) + "\n")
    return 0 if found.fits else 1


if __name__ == "__main__":
    sys.exit(main())

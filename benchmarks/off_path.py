"""Whether the score off the path orders scenes as the truth does, and what its filter is worth, in the embedded world.

The 3D network reconstructs scenes of a seed that neither it nor the formula has seen, as they are and from films with a fault:
one or two frames of another scene, one or two mirrored frames, or light that flickers. The world gives the true pictures at views
off the path (up to 6 degrees). Prints the rank correlation of score and true PSNR over all and by kind, and PSNR before and
after the filter; exit status 1 where the correlation is below 0.7 or, over films with a fault, the filter gains less than
1 dB or takes more than a fifth of the Gaussians.

    python benchmarks/off_path.py [--scenes 24] [--seed 7101] [--output FILE.json]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from vist3a.geometry.normalisation import normalise_scene
from vist3a.metrics.image import psnr
from vist3a.metrics.off_path import off_path, without_disagreement
from vist3a.pairing import load_reconstruction
from vist3a.records import Cameras, ExactScenes, Gaussians, Reconstruction
from vist3a.rendering.cpu import CpuRenderer
from vist3a_lab.world import ProceduralWorld

SIZE, FRAMES, BESIDE = (64, 64), 13, 6
KINDS = ("whole", "foreign", "mirrored", "flicker")


def film(kind: str, frames: Tensor, other: Tensor, number: int) -> Tensor:
    """The frames of a scene, with the fault that ``kind`` names."""
    generator = torch.Generator().manual_seed(number)
    broken = torch.randperm(FRAMES, generator=generator)[: 1 + number % 2]
    made = frames.clone()
    if kind == "foreign":
        made[:, broken] = other[:, broken]
    elif kind == "mirrored":
        made[:, broken] = made[:, broken].flip(-1)
    elif kind == "flicker":
        light = 1 + 0.25 * torch.randn(1, FRAMES, 1, 1, 1, generator=generator)
        made = (light * made + 0.05 * torch.randn(1, FRAMES, 3, 1, 1, generator=generator)).clamp(0, 1)
    return made


def true_views(world: ExactScenes, output: Reconstruction) -> tuple[Cameras, Tensor]:
    """Cameras off the path in the unit of a reconstruction, and what they see in truth."""
    cameras, depth, _ = normalise_scene(world.cameras, world.depth, frames=FRAMES)
    pose = cameras.world_to_camera[:, FRAMES:].clone()
    pose[..., :3, 3] *= (output.depth / depth[:, :FRAMES]).median()
    return Cameras(pose, cameras.intrinsics[:, FRAMES:]), world.rgb[:, FRAMES:]


def main() -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=24)
    parser.add_argument("--seed", type=int, default=7101)
    parser.add_argument("--network", default="data/06_models/embedded/reconstruction")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    network, render, world = load_reconstruction("anysplat", arguments.network), CpuRenderer(), ProceduralWorld()
    rows = []
    for number in range(arguments.scenes):
        exact = world.scenes(arguments.seed, [number], SIZE, FRAMES, BESIDE)
        other = world.scenes(arguments.seed, [number + 10_000], SIZE, FRAMES).given
        for kind in KINDS:
            frames = film(kind, exact.given, other, number)
            with torch.no_grad():
                output = network.reconstruct(frames)
            gaussians = output.gaussians
            assert gaussians is not None
            cameras, truth = true_views(exact, output)

            def true_psnr(splats: Gaussians, cameras: Cameras = cameras, truth: Tensor = truth) -> float:
                with torch.no_grad():
                    return float(psnr(render(splats, cameras, SIZE).rgb.clamp(0, 1), truth).mean())

            start = time.perf_counter()
            score = off_path(gaussians, output, frames, render)
            seconds = time.perf_counter() - start
            fewer = without_disagreement(gaussians, output, frames, render)
            kept = fewer.means.shape[1] / gaussians.means.shape[1]
            before, after = true_psnr(gaussians), true_psnr(fewer)
            rows.append({
                "scene": number, "kind": kind, "score": score.decibels, "psnr": before, "filtered": after,
                "gain": after - before, "kept": kept, "seconds": seconds,
            })  # fmt: skip
            print(json.dumps(rows[-1]), flush=True)
    table = pd.DataFrame(rows)
    summary = {
        name: {
            "scenes": len(part),
            "rank_correlation": float(part["score"].corr(part["psnr"], method="spearman")),
            **{column: float(part[column].mean()) for column in ("psnr", "gain", "kept", "seconds")},
            "worst_gain": float(part["gain"].min()),
        }
        for name, part in [("all", table), ("faulty", table[table.kind != "whole"]), *table.groupby("kind")]
    }
    print(pd.DataFrame(summary).T.round(3).to_string())
    if arguments.output is not None:
        arguments.output.write_text(json.dumps({"seed": arguments.seed, **summary}, indent=1) + "\n")
    faulty = summary["faulty"]
    return int(summary["all"]["rank_correlation"] < 0.7 or faulty["gain"] < 1 or faulty["kept"] < 0.8)


if __name__ == "__main__":
    sys.exit(main())

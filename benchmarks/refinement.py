"""What refinement of the Gaussians is worth, and what it costs, in the embedded world.

The 3D network reconstructs scenes that it has not seen, and their Gaussians are fitted to the frames. Judged by frames that take
no part but say when to stop, and by true pictures from off the path (up to 6 degrees), which nothing has seen. Prints means
with 95 % bootstrap intervals; exit status 1 where the frames aside gain less than 0.5 dB in the mean (or their interval
reaches 0), one scene loses more than 0.05 dB, or a scene takes more than 60 s.

    python benchmarks/refinement.py [--scenes 48] [--steps 60] [--output FILE.json]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import pandas as pd
import torch
from off_path import BESIDE, FRAMES, SIZE, true_views

from vist3a.generation.refinement import RefinementSettings, refine
from vist3a.metrics.aggregate import bootstrap_interval
from vist3a.metrics.image import psnr
from vist3a.pairing import load_reconstruction
from vist3a.records import Gaussians
from vist3a.rendering.cpu import CpuRenderer
from vist3a_lab.world import ProceduralWorld


def main() -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=48)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seed", type=int, default=8101)
    parser.add_argument("--network", default="data/06_models/embedded/reconstruction")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    network, render, world = load_reconstruction("anysplat", arguments.network), CpuRenderer(), ProceduralWorld()
    settings = RefinementSettings(refine_steps=arguments.steps)
    rows = []
    for number in range(arguments.scenes):
        exact = world.scenes(arguments.seed, [number], SIZE, FRAMES, BESIDE)
        with torch.no_grad():
            output = network.reconstruct(exact.given)
        cameras, truth = true_views(exact, output)
        assert output.gaussians is not None
        start, worked = time.perf_counter(), time.process_time()
        refined = refine(output.gaussians, output, exact.given, render, settings)
        seconds, processor = time.perf_counter() - start, time.process_time() - worked

        def beside(gaussians: Gaussians) -> float:
            with torch.no_grad():
                return float(psnr(render(gaussians, cameras, SIZE).rgb.clamp(0, 1), truth).mean())  # noqa: B023

        before = beside(output.gaussians)
        rows.append({
            "scene": number, "aside": refined.before, "aside_gain": refined.after - refined.before, "steps": refined.steps,
            "off_path": before, "off_path_gain": beside(refined.gaussians) - before,
            "seconds": seconds, "processor_seconds": processor,
        })  # fmt: skip
        print(json.dumps(rows[-1]), flush=True)
    table = pd.DataFrame(rows)
    summary = {
        column: {
            "mean": float(table[column].mean()),
            **dict(zip(("low", "high"), bootstrap_interval(table[column].tolist(), 0), strict=True)),
            "worst": float(table[column].min()), "most": float(table[column].max()),
        }
        for column in table.columns[1:]
    }  # fmt: skip
    print(pd.DataFrame(summary).T.round(3).to_string())
    if arguments.output is not None:
        arguments.output.write_text(json.dumps({"scenes": len(table), **summary}, indent=1) + "\n")
    gain = summary["aside_gain"]
    return int(gain["mean"] < 0.5 or gain["low"] <= 0 or gain["worst"] < -0.05 or summary["seconds"]["most"] > 60)


if __name__ == "__main__":
    sys.exit(main())

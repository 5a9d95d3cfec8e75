"""Whether a judge of frames can be trusted: it must prefer true frames to decoded ones, and these to spoiled ones.

Frames of the procedural world; the same, encoded and decoded by the embedded video autoencoder; and decoded ones spoiled in two
ways: each frame shifted by up to three pixels of its own, and each bent by a smooth wave of its own. The judge is ``sift``: SIFT
matches on the epipolar lines of the true cameras. Prints means and in how many scenes each order holds; exit status 1
where the means are not in order, or a spoiled film wins in more than one scene of ten.

    python benchmarks/judges.py [--scenes 24] [--output FILE.json]
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from vist3a.generators.wan import WanGenerator
from vist3a.metrics.epipolar import epipolar_inliers
from vist3a_lab.world import ProceduralWorld

SIZE, FRAMES = (64, 64), 13


def shaken(frames: Tensor, seed: int) -> Tensor:
    """Every frame [1, views, 3, h, w] moved by whole pixels of its own, up to three."""
    steps = torch.randint(-3, 4, (frames.shape[1], 2), generator=torch.Generator().manual_seed(seed))
    return torch.stack(
        [frame.roll(tuple(step.tolist()), (1, 2)) for frame, step in zip(frames[0], steps, strict=True)]
    )[None]


def bent(frames: Tensor, seed: int) -> Tensor:
    """Every frame bent by a smooth wave of its own, up to two pixels."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(frames.shape[1], 2, 5, 5, generator=generator)
    wave = torch.nn.functional.interpolate(coarse, SIZE, mode="bicubic", align_corners=True).movedim(1, -1)
    y, x = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in SIZE), indexing="ij")
    places = torch.stack([x, y], -1) + wave.clamp(-2, 2) * 2 / SIZE[0]
    return torch.nn.functional.grid_sample(frames[0], places, padding_mode="border", align_corners=True)[None]


def main() -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=24)
    parser.add_argument("--seed", type=int, default=9101)
    parser.add_argument("--generator", default="data/06_models/embedded/generator")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    generator = WanGenerator.from_pretrained(arguments.generator, parts=("vae",))
    world, rows = ProceduralWorld(), []
    for number in range(arguments.scenes):
        exact = world.scenes(arguments.seed, [number], SIZE, FRAMES)
        with torch.no_grad():
            decoded = generator.decode(generator.encode(exact.given)).clamp(0, 1)
        films = {
            "true": exact.given,
            "decoded": decoded,
            "bent": bent(decoded, number),
            "shaken": shaken(decoded, number),
        }
        rows.append({name: epipolar_inliers(film[0], exact.cameras[0]) for name, film in films.items()})
        print(json.dumps({"scene": number, **rows[-1]}), flush=True)
    table = pd.DataFrame(rows)
    wins = {f"{a} over {b}": float((table[a] > table[b]).mean())
            for a, b in (("true", "decoded"), ("decoded", "bent"), ("decoded", "shaken"))}  # fmt: skip
    means = {name: float(value) for name, value in table.mean().items()}
    print(json.dumps({"mean": means, "share of scenes": wins}, indent=1))
    if arguments.output is not None:
        arguments.output.write_text(json.dumps({"scenes": len(table), "mean": means, "wins": wins}, indent=1) + "\n")
    ordered = means["true"] > means["decoded"] > max(means["bent"], means["shaken"])
    return int(not ordered or min(wins["decoded over bent"], wins["decoded over shaken"]) < 0.9)


if __name__ == "__main__":
    sys.exit(main())

"""Whether a judge of frames can be trusted: it must prefer true frames to decoded ones, and these to spoiled ones.

Frames of the procedural world; the same, encoded and decoded by the embedded video autoencoder; and decoded ones spoiled in four
ways: each frame bent by a smooth wave of its own, shifted by up to three pixels of its own, lighter or darker by a tenth
(standard deviation), or all blurred by three pixels. Judges are the metrics of the registry that need no network of this project,
given the true depth and cameras. Each claims to see some of the faults (``CLAIMS``); none that looks at neighbors sees blur.
``vmaf of renderings`` shows what is not in the registry: renderings by the embedded 3D network as copies of the frames.

Prints means and in how many scenes each order holds; exit status 1 where the means of a judge of the registry are not in order
for what it claims to see, or what it claims to see wins in more than one scene of ten. Constants of the judges were fixed on
scenes of seed 9101.

    python benchmarks/judges.py [--scenes 24] [--seed 9301] [--output FILE.json]
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from vist3a import registry
from vist3a.generators.wan import WanGenerator
from vist3a.geometry.projection import unproject_depth
from vist3a.metrics.direction import Metric
from vist3a.metrics.vmaf import vmaf
from vist3a.pairing import load_reconstruction
from vist3a.records import Reconstruction
from vist3a.rendering.cpu import CpuRenderer
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


def lit(frames: Tensor, seed: int) -> Tensor:
    """Every frame lighter or darker by a factor of its own."""
    light = torch.randn(1, frames.shape[1], 1, 1, 1, generator=torch.Generator().manual_seed(seed))
    return (frames * (1 + 0.1 * light)).clamp(0, 1)


def blurred(frames: Tensor, seed: int) -> Tensor:
    """Every pixel the mean of nine."""
    del seed
    wide = torch.nn.functional.pad(frames[0], (1, 1, 1, 1), mode="replicate")
    return torch.nn.functional.avg_pool2d(wide, 3, stride=1)[None]


FAULTS = {"bent": bent, "shaken": shaken, "lit": lit, "blurred": blurred}
CLAIMS = {
    "sift": ("bent", "shaken"),
    "vmaf": ("bent", "shaken"),
    "efficientnet": ("bent", "shaken", "lit"),
    "warping": ("bent", "shaken", "lit"),
    "flicker": ("lit",),
}


class RenderedVmaf:
    """VMAF of renderings of what the embedded network reconstructs, with the frames as the original."""

    more_is_better = True

    def __init__(self, network: str) -> None:
        self.network, self.render = load_reconstruction("anysplat", network), CpuRenderer()

    def __call__(self, scene: Reconstruction, frames: Tensor) -> Tensor:
        """Of a batch of one."""
        found = self.network.reconstruct(frames)
        rendered = self.render(found.gaussians, found.cameras, SIZE).rgb.clamp(0, 1)
        return vmaf(frames[0], rendered[0])[None]


def main() -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=24)
    parser.add_argument("--seed", type=int, default=9301)
    parser.add_argument("--generator", default="data/06_models/embedded/generator")
    parser.add_argument("--network", default="data/06_models/embedded/reconstruction")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    generator = WanGenerator.from_pretrained(arguments.generator, parts=("vae",))
    judges: dict[str, Metric] = {name: registry.find("metrics", name)() for name in CLAIMS}
    judges["vmaf of renderings"] = RenderedVmaf(arguments.network)
    world, rows = ProceduralWorld(), []
    for number in range(arguments.scenes):
        exact = world.scenes(arguments.seed, [number], SIZE, FRAMES)
        points = unproject_depth(exact.depth, exact.cameras)
        sure = torch.ones_like(exact.depth)
        scene = Reconstruction(exact.cameras, exact.depth, sure, points, sure)
        with torch.no_grad():
            decoded = generator.decode(generator.encode(exact.given)).clamp(0, 1)
            films = {"true": exact.given, "decoded": decoded}
            films |= {name: fault(decoded, number) for name, fault in FAULTS.items()}
            rows += [
                {
                    "scene": number,
                    "judge": name,
                    **{film: float(judge(scene, frames)) for film, frames in films.items()},
                }
                for name, judge in judges.items()
            ]
        print(f"scene {number}", flush=True)
    table, summary, trusted = pd.DataFrame(rows), {}, True
    for name, judge in judges.items():
        values = table[table.judge == name].drop(columns=["scene", "judge"]) * (1 if judge.more_is_better else -1)
        wins = {"true over decoded": float((values["true"] > values["decoded"]).mean())}
        wins |= {f"decoded over {fault}": float((values["decoded"] > values[fault]).mean()) for fault in FAULTS}
        means = values.mean()
        summary[name] = {"mean": values.mean().abs().to_dict(), "share of scenes": wins}
        claims = CLAIMS.get(name, ())
        ordered = means["true"] > means["decoded"] > max((means[fault] for fault in claims), default=-math.inf)
        summary[name]["ordered"] = bool(ordered)
        if name in CLAIMS:
            trusted &= bool(ordered) and all(wins[f"decoded over {fault}"] >= 0.9 for fault in claims)
    for key in ("mean", "share of scenes"):
        print(key, pd.DataFrame({name: found[key] for name, found in summary.items()}).T.round(4).to_string(), sep="\n")
    if arguments.output is not None:
        arguments.output.write_text(
            json.dumps({"seed": arguments.seed, "scenes": arguments.scenes, **summary}, indent=1) + "\n"
        )
    return int(not trusted)


if __name__ == "__main__":
    sys.exit(main())

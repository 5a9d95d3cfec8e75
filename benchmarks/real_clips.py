"""Readers, ordering and every metric that needs no download, on all clips of a folder of real videos or images.

    python benchmarks/real_clips.py FOLDER [--views 13] [--size 64] [--output figures.json]

Each clip is read and checked as curation does it; what curation refuses is named with its reason and read without checks.
There is no truth for such clips, so every figure compares two things that should agree: the order found from shuffled
pictures with that of the video, the autoencoder's copy with the frames, the reconstruction network on that copy with
itself on the frames, renderings with the frames they were made of, depth maps with each other. The networks are the small
ones of this repository, which have seen nothing but their procedural world: the figures show that the measures run, not how
well the method does. Exit status 1 when a clip cannot be read or a figure is not finite.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path

import torch
from torch import Tensor

from vist3a import registry
from vist3a.data.checks import Limits
from vist3a.data.ordering import shortest_path
from vist3a.data.reading import read_clip
from vist3a.data.rejected import RejectedError
from vist3a.data.resizing import fit
from vist3a.data.sources import Source, scan
from vist3a.data.view_distance import picture_distance
from vist3a.generators.base import VideoGenerator
from vist3a.metrics.depth import depth_errors
from vist3a.metrics.image import psnr, ssim
from vist3a.metrics.pose import pair_errors, pose_auc
from vist3a.metrics.pose_transfer import pose_transfer
from vist3a.metrics.reprojection import reprojection_errors
from vist3a.metrics.surface import surface_errors
from vist3a.metrics.trajectory import trajectory_errors
from vist3a.metrics.vmaf import vmaf
from vist3a.networks.base import ReconstructionModel
from vist3a.pairing import load_generator, load_reconstruction
from vist3a.records.frame_count import causal_frames
from vist3a.rendering import renderer_for

JUDGES = ("sift", "vmaf", "efficientnet", "warping", "flicker")
"""Metrics of the registry, of the frames and of the autoencoder's copy."""
PIXEL_STEP = 4
"""Surfaces are compared on every fourth pixel of every fourth row."""


def views_of(source: Source, views: int, size: int) -> tuple[Tensor, str]:
    """Views [views, 3, size, size] in [0, 1], and why curation refuses the clip ("" where it does not)."""
    try:
        clip = read_clip(source, views, size, size, Limits(), allowed=causal_frames(4))
        return clip.frames.float() / 255, ""
    except RejectedError as reason:
        frames = [fit(frame, size, size, source.reader.pixel_aspect()) for frame in source.reader.frames()]
        chosen = torch.linspace(0, len(frames) - 1, views).round().long().tolist()
        return torch.stack([frames[i] for i in chosen]).float() / 255, str(reason)


def kendall(places: Tensor) -> float:
    """Absolute rank correlation of a path with the true order."""
    signs = (places[None, :] - places[:, None]).sign().triu(1)
    count = len(places)
    return float(signs.sum().abs() / (count * (count - 1) / 2))


@torch.no_grad()
def figures_of(frames: Tensor, generator: VideoGenerator, network: ReconstructionModel) -> dict[str, float]:
    """All figures of one clip."""
    shuffle = torch.randperm(len(frames), generator=torch.Generator().manual_seed(0))
    found = {"order": kendall(shuffle[torch.tensor(shortest_path(picture_distance(frames[shuffle])))])}
    clip, render = frames[None], renderer_for(torch.device("cpu"))
    copy = generator.decode(generator.encode(clip))
    here, there = network.reconstruct(clip), network.reconstruct(copy)
    rendered = render(here.gaussians, here.cameras, (clip.shape[-2], clip.shape[-1])).rgb.clamp(0, 1)
    grid = slice(PIXEL_STEP // 2, None, PIXEL_STEP)
    spread = float(here.points.flatten(0, -2).std(0).norm())
    surface = surface_errors(
        there.points[0, :, grid, grid], here.points[0, :, grid, grid], 0.02 * spread, icp_distance=0.1 * spread
    )
    depth = depth_errors(there.depth.flatten(1, 2), here.depth.flatten(1, 2))
    path = trajectory_errors(there.cameras[0], here.cameras[0])
    pairs = pair_errors(there.cameras, here.cameras)
    again = pose_transfer(rendered, here.cameras, lambda views: network.reconstruct(views).cameras)
    reprojected = reprojection_errors(here.depth, here.cameras, clip, gap=min(4, len(frames) - 1))
    # How well the depth and cameras of the network carry each frame into the next, seen by judges that no one trained here.
    judged = {f"{name}_{film}": registry.find("metrics", name)()(scene, frames) for name in JUDGES
              for film, scene, frames in (("frames", here, clip), ("copy", there, copy))}  # fmt: skip
    values = {
        **judged,
        "copy_vmaf": vmaf(clip[0], copy[0]),
        "copy_psnr": psnr(copy, clip).mean(),
        "copy_ssim": ssim(copy, clip).mean(),
        "rendered_psnr": psnr(rendered, clip).mean(),
        "depth": depth.abs_rel.mean(),
        "accuracy": surface.accuracy / spread,
        "complete": surface.completeness / spread,
        "normals": surface.normals,
        "f_score": surface.f_score,
        "rotation": pairs.rotation.median(),
        "auc_30": pose_auc(pairs).mean(),
        "ate": path.ate / spread,
        "reprojection": reprojected.pixels.mean(),
        "transfer": again.similarity.mean(),
    }
    return found | {name: float(value) for name, value in values.items()}


def width(name: str) -> int:
    """Characters of a column."""
    return max(14, len(name) + 2)


def main() -> int:
    """Print a table, a row per clip."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--views", type=int, default=13)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--weights", type=Path, default=Path("data/06_models/embedded"))
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    device = torch.device("cpu")
    weights = str(arguments.weights / "generator")
    generator = load_generator("wan", weights, revision=None, parts=["vae"], device=device, dtype="float32")
    network = load_reconstruction("anysplat", str(arguments.weights / "reconstruction"), dtype="float32", device=device)
    rows: dict[str, dict[str, float]] = {}
    refused: dict[str, str] = {}
    unreadable = 0
    for source in scan(arguments.folder):
        try:
            frames, reason = views_of(source, arguments.views, arguments.size)
        except RejectedError as error:
            print(f"{source.location}: {error}")
            unreadable += 1
            continue
        if reason:
            refused[source.name] = reason
        row = rows[source.name] = figures_of(frames, generator, network)
        if len(rows) == 1:
            print(f"{'clip':22s}" + "".join(f"{name:>{width(name)}s}" for name in row))
        print(f"{source.name:22s}" + "".join(f"{value:{width(name)}.3f}" for name, value in row.items()), flush=True)
    for name, reason in refused.items():
        print(f"{name}: curation would refuse it: {reason}")
    if arguments.output is not None:
        arguments.output.write_text(json.dumps({"clips": rows, "refused": refused}, indent=1, sort_keys=True) + "\n")
    broken = [name for name, row in rows.items() if not all(math.isfinite(value) for value in row.values())]
    print(f"{len(rows)} clips measured, {unreadable} unreadable, {len(broken)} with a figure that is not finite")
    return int(bool(unreadable or broken or not rows))


if __name__ == "__main__":
    sys.exit(main())

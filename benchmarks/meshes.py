"""Meshes of reconstructed scenes against the truth, in the embedded world.

Frames of the procedural world, whose surface is known, are reconstructed by the original 3D network and by the stitched one (from
latents), and fused to meshes as `vist3a export --to mesh` does it. Meshes are moved onto the truth by the similarity of
corresponding pixels, sampled evenly by area, and compared with the true surface that the views see (all points of pictures of
twice the size). ``true depth`` is the mesh of the true depth and cameras: what fusing and sampling alone cost.

Prints means over scenes with their 95 % intervals (bootstrap): accuracy and completeness in percent of the scene's median depth,
|cosine| of normals, F-score at 2 % of the median depth; and the seconds a mesh takes.

    make stitch
    python benchmarks/meshes.py [--scenes 20] [--seed 7501] [--output FILE.json]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import pandas as pd
import torch
import trimesh
from scipy.spatial import cKDTree
from text_to_3d import load
from torch import Tensor

from vist3a.export.formats import AssetSettings
from vist3a.export.mesh import Mesh, scene_mesh
from vist3a.geometry.projection import unproject_depth
from vist3a.geometry.similarity import umeyama
from vist3a.metrics.aggregate import bootstrap_interval
from vist3a.metrics.surface import SurfaceErrors, errors_between, grid_normals
from vist3a.pairing import load_reconstruction
from vist3a.records import Reconstruction
from vist3a.stitching.stitch import reconstruct
from vist3a_lab.world import ProceduralWorld

SIZE, FRAMES, SAMPLES = (64, 64), 13, 100_000
NEAR = 0.02
"""Threshold of the F-score, as a share of the median depth."""
SHOWN = ("accuracy", "completeness", "accuracy_median", "completeness_median", "normals", "f_score", "seconds")


def true_surface(world: ProceduralWorld, seed: int, number: int) -> tuple[Tensor, Tensor]:
    """Points and normals [n, 3] of what the views see, in every pixel of pictures of twice the size."""
    fine = world.scenes(seed, [number], (2 * SIZE[0], 2 * SIZE[1]), FRAMES)
    points = unproject_depth(fine.depth[0].double(), fine.cameras[0].to(dtype=torch.float64))
    return points.reshape(-1, 3), grid_normals(points).reshape(-1, 3)


def by_tree(source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Distance of every source point to the nearest target point, and which that is."""
    distance, index = cKDTree(target.numpy()).query(source.numpy())
    return torch.from_numpy(distance), torch.from_numpy(index)


def against_truth(
    mesh: Mesh, found: Tensor, true: Tensor, surface: tuple[Tensor, Tensor], unit: float, seed: int
) -> SurfaceErrors:
    """A mesh in the world of the points ``found``, whose pixels show the ``true`` points of the world; lengths in ``unit``."""
    scale, rotation, translation = umeyama(found.reshape(-1, 3).double(), true.reshape(-1, 3).double())
    solid = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    places, faces = trimesh.sample.sample_surface(solid, SAMPLES, seed=seed)
    points = scale * torch.from_numpy(places) @ rotation.T + translation
    normals = torch.from_numpy(solid.face_normals[faces]) @ rotation.T
    return errors_between(points / unit, normals, surface[0] / unit, surface[1], NEAR, by_tree)


def main() -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=20)
    parser.add_argument("--seed", type=int, default=7501)
    parser.add_argument("--network", default="data/06_models/embedded/reconstruction")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    network, world, rows = load_reconstruction("anysplat", arguments.network), ProceduralWorld(), []
    generator, decoder, _ = load(aligned=False, closed_form=False)
    # As the exporter does where no number of voxels is asked for.
    voxels, drop = min(2 * max(SIZE), 256), AssetSettings().drop_points
    for number in range(arguments.scenes):
        exact = world.scenes(arguments.seed, [number], SIZE, FRAMES)
        surface, unit = true_surface(world, arguments.seed, number), float(exact.depth.median())
        true, sure = unproject_depth(exact.depth, exact.cameras), torch.ones_like(exact.depth)
        with torch.no_grad():
            scenes = {
                "true depth": Reconstruction(exact.cameras, exact.depth, sure, true, sure),
                "original network": reconstruct(exact.given, network),
                "stitched": reconstruct(exact.given, decoder, generator),
            }
        for name, scene in scenes.items():
            start = time.perf_counter()
            mesh = scene_mesh(scene, exact.given, voxels, 0.0 if name == "true depth" else drop)
            seconds = time.perf_counter() - start
            found = unproject_depth(scene.depth, scene.cameras)
            errors = against_truth(mesh, found, true, surface, unit, number)
            rows.append({"scene": number, "of": name, "seconds": seconds, **vars(errors)})
        print(f"scene {number}", flush=True)
    table = pd.DataFrame(rows)
    lengths = [column for column in table if column.startswith(("accuracy", "completeness"))]
    table[lengths] *= 100
    summary = {
        name: {column: (float(part[column].mean()), *bootstrap_interval(part[column].tolist(), 0)) for column in SHOWN}
        for name, part in table.groupby("of", sort=False)
    }
    print(f"{'mesh of':18s}" + "".join(f"{column:>24s}" for column in SHOWN))
    for name, found in summary.items():
        cells = (f"{mean:.3g} ({low:.3g} to {high:.3g})" for mean, low, high in found.values())
        print(f"{name:18s}" + "".join(f"{cell:>24s}" for cell in cells))
    if arguments.output is not None:
        told = {"seed": arguments.seed, "scenes": arguments.scenes, **summary}
        arguments.output.write_text(json.dumps(told, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

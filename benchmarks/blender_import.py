"""Whether Blender finds exported scenes where they belong: its own importers read a test scene, whose corners have known places.

Two colored boxes on a ground, of which no two sides are equal, stand before cameras that look down, in a unit of 0.8 m. The
exporters are told the cameras' height alone. Blender must find every corner of the mesh and every Gaussian in meters, with z up,
the ground at 0 and the first camera above the origin, in its own color; and the surfaces the right way round. Prints the largest
errors; exit status 1 where one is too large.

    python -m venv build/blender && build/blender/bin/pip install bpy     # about 400 MB, for Python 3.11; once
    python benchmarks/blender_import.py [--python build/blender/bin/python] [--pictures FOLDER]
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from vist3a.export.formats import AssetSettings, Exported, write_formats
from vist3a.export.mesh import Mesh
from vist3a.export.mesh_file import save_mesh_glb
from vist3a.export.placement import place_scene
from vist3a.export.viewer import Caption
from vist3a.geometry.projection import unproject_depth
from vist3a.geometry.spherical_harmonics import BAND_ZERO
from vist3a.records import Cameras, Gaussians, Reconstruction

# In meters, as Blender is to see them: low and high corner of each box (x right, y forward, z up).
BOXES = np.array([[[-0.9, 2.6, 0.0], [-0.2, 3.7, 0.8]], [[0.35, 2.2, 0.0], [0.65, 2.6, 1.2]]])
GROUND = (0.55, 0.5, 0.45)
# sRGB of the sides of each box, in the order -x, +x, -y, +y, -z, +z.
SIDES = np.array([
    [[0.9, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.2, 0.9], [0.9, 0.9, 0.1], [0.5, 0.5, 0.5], [0.9, 0.5, 0.1]],
    [[0.1, 0.8, 0.8], [0.8, 0.1, 0.8], [0.3, 0.6, 0.2], [0.6, 0.3, 0.2], [0.5, 0.5, 0.5], [0.95, 0.95, 0.9]],
])  # fmt: skip
HEIGHT, DOWN, UNIT, WALL = 1.6, 0.3, 0.8, 5.0
SIZE, VIEWS, VOXELS = (144, 192), 13, 256
EXACT, COLOR = 0.025, 0.01
"""Largest error of what is written as it is, in meters (0.5 % of the room: the ground, and with it the unit, is estimated),
and of colors."""
FUSED = 2.0
"""The same of corners of the fused mesh, in voxels."""


def corners(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """[8, 3], x slowest."""
    return np.stack(np.meshgrid(*zip(low, high, strict=True), indexing="ij"), -1).reshape(8, 3)


def box_mesh() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices, faces (outwards) and colors of both boxes; corners have the mean color of the three sides that meet there."""
    square = {0: (0, 1, 3, 2), 1: (4, 6, 7, 5), 2: (0, 4, 5, 1), 3: (2, 3, 7, 6), 4: (0, 2, 6, 4), 5: (1, 5, 7, 3)}
    faces = [[a, b, c] for p, q, r, s in square.values() for a, b, c in ((p, q, r), (p, r, s))]
    vertices = np.concatenate([corners(*box) for box in BOXES])
    bits = np.stack(np.meshgrid(*[[0, 1]] * 3, indexing="ij"), -1).reshape(8, 3)
    colors = np.concatenate([sides[bits + np.array([0, 2, 4])].mean(1) for sides in SIDES])
    return vertices, np.concatenate([faces, np.array(faces) + 8]), colors


def poses() -> np.ndarray:
    """World (of Blender) to camera (OpenCV), in meters: along an arc, at one height, looking down."""
    made = []
    for turn in np.linspace(0, 0.6, VIEWS):
        forward = np.array([-math.sin(turn) * math.cos(DOWN), math.cos(turn) * math.cos(DOWN), -math.sin(DOWN)])
        right = np.array([math.cos(turn), math.sin(turn), 0.0])
        pose = np.eye(4)
        pose[:3, :3] = [right, np.cross(forward, right), forward]
        pose[:3, 3] = -pose[:3, :3] @ [3 * math.sin(turn), 3 - 3 * math.cos(turn), HEIGHT]
        made.append(pose)
    return np.stack(made)


def seen(pose: np.ndarray, intrinsics: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """z-depth in meters and color of one view, by rays against slabs; a wall ends the view."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    rays = np.stack([x, y, np.ones_like(x)], -1) @ np.linalg.inv(intrinsics).T @ pose[:3, :3]
    eye = -pose[:3, :3].T @ pose[:3, 3]
    depth, color = np.full(SIZE, np.inf), np.zeros((*SIZE, 3))
    with np.errstate(divide="ignore"):
        for axis, ahead, paint in ((2, -eye[2], GROUND), (1, WALL - eye[1], (0.7, 0.8, 0.95))):
            hit = ahead / rays[..., axis]
            nearer = (hit > 0) & (hit < depth)
            depth[nearer], color[nearer] = hit[nearer], paint
        for (low, high), sides in zip(BOXES, SIDES, strict=True):
            first, last = np.sort(np.stack([(low - eye) / rays, (high - eye) / rays]), 0)
            enter, side = first.max(-1), first.argmax(-1)
            hit = (enter > 0) & (enter < last.min(-1)) & (enter < depth)
            upper = np.take_along_axis(rays, side[..., None], -1)[..., 0] < 0
            depth[hit], color[hit] = enter[hit], sides[2 * side + upper][hit]
    return depth, color


def made_scene() -> tuple[Exported, Mesh]:
    """The scene as a network gives it, in the frame of the first camera and a unit of its own, and the boxes as an exact mesh."""
    world, focal = poses(), 1.1 * SIZE[0]
    intrinsics = np.array([[focal, 0, SIZE[1] / 2 + 3], [0, focal, SIZE[0] / 2 - 2], [0, 0, 1.0]])
    depth, color = (np.stack(parts) for parts in zip(*(seen(pose, intrinsics) for pose in world), strict=True))
    local = world @ np.linalg.inv(world[0])
    local[:, :3, 3] /= UNIT
    cameras = Cameras(torch.tensor(local).float()[None], torch.tensor(intrinsics).float().expand(1, VIEWS, 3, 3))
    depths = torch.tensor(depth / UNIT).float()[None]
    one = torch.ones_like(depths)
    vertices, faces, colors = box_mesh()
    places = (vertices @ world[0, :3, :3].T + world[0, :3, 3]) / UNIT
    gaussians = Gaussians(
        means=torch.tensor(places).float()[None],
        scales=torch.tensor([0.03, 0.05, 0.08]).expand(1, 16, 3),
        rotations=torch.tensor([1.0, 0, 0, 0]).expand(1, 16, 4),
        opacities=torch.full((1, 16), 0.9),
        harmonics=((torch.tensor(colors).float() - 0.5) / BAND_ZERO)[None, :, None],
    )
    scene = Reconstruction(cameras, depths, one, unproject_depth(depths, cameras), one, gaussians=gaussians)
    frames = torch.tensor(color).float().movedim(-1, 1)[None]
    settings = AssetSettings(target="blender", scale=f"camera height {HEIGHT}", level=True, mesh_voxels=VOXELS)
    return Exported(Caption("boxes", {}), frames, scene, gaussians, settings), Mesh(places.astype("f4"), faces, colors)


def srgb(linear: np.ndarray) -> np.ndarray:
    """Colors as seen, of linear ones (IEC 61966-2-1)."""
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055)


def volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    """Of closed surfaces, positive if they look outwards."""
    a, b, c = vertices[faces].swapaxes(0, 1)
    return float((a * np.cross(b, c)).sum() / 6)


def judged(found: dict[str, Any], voxel: float) -> dict[str, tuple[float, float]]:
    """Errors by name, each with the largest that is allowed."""
    vertices, faces, colors = box_mesh()

    def arrays(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        (thing,) = found[name]
        shown = np.full((len(thing["vertices"]), 3), np.nan) if thing["colors"] is None else thing["colors"]
        return np.array(thing["vertices"]), np.array(thing["faces"]), srgb(np.array(shown)[:, :3])

    def nearest(places: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        distance = np.linalg.norm(places[None] - wanted[:, None], axis=-1)
        return distance.min(1), distance.argmin(1)

    errors = {}
    places, turned, shown = arrays("boxes.glb")
    gap, index = nearest(places, vertices)
    errors["mesh GLB: corners (m)"] = (gap.max(), EXACT)
    errors["mesh GLB: colors of corners"] = (np.abs(shown[index] - colors).max(), COLOR)
    errors["mesh GLB: volume (m^3)"] = (abs(volume(places, turned) - volume(vertices, faces)), EXACT)
    (splats,) = found["gaussians.ply"]
    places = np.array(splats["vertices"])
    numbers = np.stack([splats["numbers"][f"f_dc_{i}"] for i in range(3)], -1)
    # By their colors, which are all different, Gaussians are known again.
    _, index = nearest(0.5 + BAND_ZERO * numbers, colors)
    errors["splat PLY: means (m)"] = (np.linalg.norm(places[index] - vertices, axis=-1).max(), EXACT)
    errors["splat PLY: colors"] = (np.abs(0.5 + BAND_ZERO * numbers[index] - colors).max(), COLOR)
    # Corners that no view shows, on the ground behind, cannot be found.
    upper = vertices[:, 2] > 0
    for name in ("mesh.glb", "mesh.ply"):
        places, turned, shown = arrays(name)
        errors[f"{name}: upper corners (m)"] = (nearest(places, vertices[upper])[0].max(), FUSED * voxel)
        floor = places[np.abs(places[:, 2]) < 3 * voxel]
        errors[f"{name}: height of the ground (m)"] = (abs(float(np.median(floor[:, 2]))), EXACT)
        tops = np.array([[*box.mean(0)[:2], box[1, 2]] for box in BOXES])
        _, index = nearest(places, tops)
        errors[f"{name}: colors of the tops"] = (np.abs(shown[index] - SIDES[:, 5]).max(), 0.05)
        a, b, c = places[turned].swapaxes(0, 1)
        flat = np.abs(places[turned][..., 2]).max(1) < voxel
        down = (np.cross(b - a, c - a)[flat, 2] < 0).mean()
        errors[f"{name}: share of the ground that looks down"] = (float(down), 0.01)
    return errors


def main() -> int:
    """Write, let Blender read, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default="build/blender/bin/python", help="a Python that has bpy")
    parser.add_argument("--pictures", type=Path, help="keep Blender's renderings there")
    arguments = parser.parse_args()
    exported, boxes = made_scene()
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        paths = write_formats(("ply", "mesh", "mesh_ply"), folder, exported, "formats")
        gltf = place_scene(replace(exported.settings, target="gltf"), exported.scene)
        paths["boxes"] = folder / "boxes.glb"
        save_mesh_glb(paths["boxes"], boxes, gltf)
        command = [arguments.python, Path(__file__).with_name("blender_reads.py"), *paths.values()]
        if arguments.pictures is not None:
            command += ["--picture", arguments.pictures.resolve()]
        try:
            told = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
        except FileNotFoundError:
            print(f"--python: there is no {arguments.python}; allowed: a Python with bpy (see --help)", file=sys.stderr)
            return 2
        except subprocess.CalledProcessError as error:
            print(error.stderr, file=sys.stderr)
            return 2
    answer = json.loads(told.stdout.splitlines()[-1])
    print(f"Blender {answer['blender']}, factor {gltf.factor:.4f} (true {UNIT})")
    # Along its longest side the volume spans nearly all that the cameras see.
    points = exported.scene.points[0].reshape(-1, 3)
    voxel = UNIT * float((points.amax(0) - points.amin(0)).max()) / VOXELS
    errors = judged(answer["files"], voxel)
    for name, (error, allowed) in errors.items():
        print(f"{'ok ' if error <= allowed else 'NOT'} {name:45} {error:.4f}  (allowed {allowed:.4f})")
    return int(any(not error <= allowed for error, allowed in errors.values()))


if __name__ == "__main__":
    sys.exit(main())

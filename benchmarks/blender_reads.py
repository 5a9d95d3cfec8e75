"""Runs under Blender: imports files by Blender's own importers, and prints as JSON what stands where in its world.

    PYTHON_WITH_BPY benchmarks/blender_reads.py FILE [FILE ..] [--picture FOLDER]

Asked by ``benchmarks/blender_import.py``; nothing of this project is imported here.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import bpy


def imported(path: Path) -> list[Any]:
    """Meshes that one file adds to an empty scene."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    if path.suffix == ".glb":
        bpy.ops.import_scene.gltf(filepath=str(path))
    else:
        bpy.ops.wm.ply_import(filepath=str(path))
    return [thing for thing in bpy.context.scene.objects if thing.type == "MESH"]


def described(thing: Any) -> dict[str, Any]:
    """Vertices in the world, their colors (linear), triangles, and the numbers that a file gave its points."""
    mesh = thing.data
    places = [list(thing.matrix_world @ vertex.co) for vertex in mesh.vertices]
    colors = None
    if mesh.color_attributes:
        layer = mesh.color_attributes[0]
        colors = [[0.0] * 4 for _ in places]
        # Importers may give colors to corners of faces instead.
        of = range(len(places)) if layer.domain == "POINT" else [loop.vertex_index for loop in mesh.loops]
        for vertex, value in zip(of, layer.data, strict=True):
            colors[vertex] = list(value.color)
    numbers = {
        attribute.name: [value.value for value in attribute.data]
        for attribute in mesh.attributes
        if attribute.domain == "POINT" and attribute.data_type == "FLOAT"
    }
    faces = [list(face.vertices) for face in mesh.polygons]
    return {"vertices": places, "colors": colors, "faces": faces, "numbers": numbers}


def draw(path: Path) -> None:
    """PNG of what a person sees who renders the scene as it was imported, from where the first camera stands."""
    scene = bpy.context.scene
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    # Blender's cameras look down; turned about x, this one looks forward and a little down.
    camera.location, camera.data.lens, camera.rotation_euler = (0.0, 0.0, 1.6), 24.0, (1.3, 0.0, 0.0)
    scene.collection.objects.link(camera)
    scene.camera = camera
    scene.render.engine, scene.cycles.samples, scene.cycles.device = "CYCLES", 8, "CPU"
    scene.view_settings.view_transform = "Standard"
    scene.render.resolution_x, scene.render.resolution_y = 320, 240
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)


def main() -> None:
    """Read, and print one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--picture", type=Path, help="render meshes into this folder")
    arguments = parser.parse_args()
    found: dict[str, Any] = {}
    # Importers and the renderer talk on the standard output.
    with contextlib.redirect_stdout(sys.stderr):
        for path in arguments.files:
            found[path.name] = [described(thing) for thing in imported(path)]
            if arguments.picture is not None and path.suffix == ".glb":
                draw(arguments.picture / f"{path.stem}.png")
    print("\n" + json.dumps({"blender": bpy.app.version_string, "files": found}))


if __name__ == "__main__":
    main()

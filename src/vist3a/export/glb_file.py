"""The container of binary glTF 2.0 (GLB): one scene, one node, one mesh of one primitive, whose arrays go by attribute name."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vist3a.runtime.atomic import replacing

# The words glTF, JSON and BIN as little-endian numbers.
MAGIC, JSON_CHUNK, BINARY_CHUNK = 0x46546C67, 0x4E4F534A, 0x004E4942
# Component types, kind of buffer and kind of primitive, by OpenGL's numbers.
FLOAT, UNSIGNED_SHORT, UNSIGNED_INT = 5126, 5123, 5125
VERTICES, INDICES, POINTS, TRIANGLES = 34962, 34963, 0, 4
WIDTHS = {1: "SCALAR", 3: "VEC3", 4: "VEC4"}


def write_glb(
    path: Path,
    attributes: Mapping[str, np.ndarray],
    primitive: dict[str, Any],
    top: dict[str, Any],
    faces: np.ndarray | None = None,
    extras: Mapping[str, Any] | None = None,
) -> None:
    """Write float32 or 16-bit color arrays, with more keys of the primitive and of the document; whole or not at all.

    Points, or triangles where ``faces`` [m, 3] are given. ``extras`` say about the file what glTF has no words for.
    """
    views, accessors, blocks, offset = [], [], [], 0
    for name, array in attributes.items():
        data = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"))).tobytes()
        views.append({"buffer": 0, "byteOffset": offset, "byteLength": len(data), "target": VERTICES})
        accessor = {"bufferView": len(views) - 1, "count": len(array), "type": WIDTHS[array.shape[1]]}
        accessor |= (
            {"componentType": FLOAT}
            if array.dtype == np.float32
            else {
                "componentType": UNSIGNED_SHORT,
                "normalized": True,
            }
        )
        # The format demands the bounds of positions.
        if name == "POSITION":
            accessor |= {"min": array.min(0).tolist(), "max": array.max(0).tolist()}
        accessors.append(accessor)
        blocks.append(data)
        offset += len(data)
    kind: dict[str, Any] = {"mode": POINTS}
    if faces is not None:
        data = np.ascontiguousarray(faces.astype("<u4")).tobytes()
        views.append({"buffer": 0, "byteOffset": offset, "byteLength": len(data), "target": INDICES})
        accessors.append(
            {"bufferView": len(views) - 1, "count": faces.size, "type": "SCALAR", "componentType": UNSIGNED_INT}
        )
        blocks.append(data)
        offset += len(data)
        kind = {"mode": TRIANGLES, "indices": len(accessors) - 1}
    primitive = {"attributes": {name: i for i, name in enumerate(attributes)}, **kind, **primitive}
    asset: dict[str, Any] = {"version": "2.0", "generator": "vist3a"}
    document = {
        "asset": asset | ({"extras": dict(extras)} if extras else {}),
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [primitive]}],
        "buffers": [{"byteLength": offset}],
        "bufferViews": views,
        "accessors": accessors,
        **top,
    }
    text = json.dumps(document, separators=(",", ":")).encode()
    # Chunks have multiples of four bytes.
    text += b" " * (-len(text) % 4)
    # Every array does so by itself: it is of float32, or of four numbers of 16 bits a row.
    binary = b"".join(blocks)
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(struct.pack("<III", MAGIC, 2, 12 + 8 + len(text) + 8 + len(binary)))
        file.write(struct.pack("<II", len(text), JSON_CHUNK) + text)
        file.write(struct.pack("<II", len(binary), BINARY_CHUNK) + binary)


def read_glb(path: Path) -> dict[str, np.ndarray]:
    """Arrays of the only primitive by attribute name."""
    data = path.read_bytes()
    try:
        # A head of twelve bytes, then chunks of length, kind and content: first JSON, then binary.
        magic, version, total = struct.unpack_from("<III", data)
        size, kind = struct.unpack_from("<II", data, 12)
        if (magic, version, kind, total) != (MAGIC, 2, JSON_CHUNK, len(data)):
            raise ValueError("its header is not that of a GLB")
        document = json.loads(data[20 : 20 + size])
        binary = data[20 + size + 8 :]
        arrays = {}
        for name, index in document["meshes"][0]["primitives"][0]["attributes"].items():
            accessor = document["accessors"][index]
            view = document["bufferViews"][accessor["bufferView"]]
            block = binary[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]
            dtype = "<f4" if accessor["componentType"] == FLOAT else "<u2"
            arrays[name] = np.frombuffer(block, dtype=dtype).reshape(accessor["count"], -1).copy()
    except (KeyError, IndexError, ValueError, struct.error) as error:
        raise ValueError(f"{path} is not a GLB of points: {error}") from error
    return arrays

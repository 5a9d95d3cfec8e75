"""vist3a: text-to-3D by stitching a multi-view reconstruction network to a video generator.

The public names are imported when they are asked for::

    generator = vist3a.load_generator("wan", "weights/generator", parts=("vae",), device="cpu")
    network = vist3a.load_reconstruction("anysplat", "weights/reconstruction", device="cpu")
    found = vist3a.find_layer(generator, network, clips)
    decoder = vist3a.stitch(generator, network, clips, point=found.best.point)
    scene = vist3a.reconstruct(frames, decoder, generator)
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vist3a.adapters.artifact import load_adapter as load_adapter
    from vist3a.adapters.artifact import save_adapter as save_adapter
    from vist3a.alignment.align import AlignData as AlignData
    from vist3a.alignment.align import align as align
    from vist3a.alignment.align_settings import AlignSettings as AlignSettings
    from vist3a.distillation.distill import DistillSettings as DistillSettings
    from vist3a.distillation.distill import distill as distill
    from vist3a.generation.text_to_3d import Scene as Scene
    from vist3a.generation.text_to_3d import TextTo3D as TextTo3D
    from vist3a.pairing import load_generator as load_generator
    from vist3a.pairing import load_reconstruction as load_reconstruction
    from vist3a.project import load as load
    from vist3a.records import Cameras as Cameras
    from vist3a.records import Clip as Clip
    from vist3a.records import Gaussians as Gaussians
    from vist3a.records import Reconstruction as Reconstruction
    from vist3a.registry import register as register
    from vist3a.runtime.loop import LoopConfig as LoopConfig
    from vist3a.stitching.artifact import load_decoder as load_decoder
    from vist3a.stitching.artifact import save_decoder as save_decoder
    from vist3a.stitching.layer_search import LayerSearch as LayerSearch
    from vist3a.stitching.layer_search import find_layer as find_layer
    from vist3a.stitching.stitch import reconstruct as reconstruct
    from vist3a.stitching.stitch import stitch as stitch

# Spinning OpenMP threads slow convolutions tenfold on a busy machine. The OpenMP library reads this once, when torch is first
# imported, so it has to stand before any module of ours; a value of the user's is kept.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"

_PLACES = {
    "AlignData": "alignment.align",
    "AlignSettings": "alignment.align_settings",
    "Cameras": "records",
    "Clip": "records",
    "DistillSettings": "distillation.distill",
    "Gaussians": "records",
    "LayerSearch": "stitching.layer_search",
    "LoopConfig": "runtime.loop",
    "Reconstruction": "records",
    "Scene": "generation.text_to_3d",
    "TextTo3D": "generation.text_to_3d",
    "align": "alignment.align",
    "distill": "distillation.distill",
    "find_layer": "stitching.layer_search",
    "load": "project",
    "load_adapter": "adapters.artifact",
    "load_decoder": "stitching.artifact",
    "load_generator": "pairing",
    "load_reconstruction": "pairing",
    "reconstruct": "stitching.stitch",
    "register": "registry",
    "save_adapter": "adapters.artifact",
    "save_decoder": "stitching.artifact",
    "stitch": "stitching.stitch",
}
__all__ = ["__version__", *_PLACES]  # noqa: PLE0604 (all are texts)


def __getattr__(name: str) -> Any:
    """Public names are imported when they are asked for: the command line needs none of them."""
    if name not in _PLACES:
        raise AttributeError(f"module 'vist3a' has no attribute {name!r}")
    return getattr(import_module(f"vist3a.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)

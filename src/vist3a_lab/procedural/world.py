"""The world in one call: images, depth, cameras, captions and labels of numbered scenes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.records import Cameras, ExactScenes
from vist3a_lab.procedural.camera_paths import cameras
from vist3a_lab.procedural.captions import describe
from vist3a_lab.procedural.layout import MAX_EXTRA_VIEWS, sample_scenes
from vist3a_lab.procedural.raycast import render
from vist3a_lab.procedural.scene import CameraPath, SceneBatch


@dataclass(frozen=True)
class WorldConfig:
    """Which world, and how it is photographed (sizes in pixels; ``supersample`` colour samples per pixel and axis)."""

    seed: int = 0
    frames: int = 13
    extra_views: int = 0
    height: int = 64
    width: int = 64
    supersample: int = 2

    def __post_init__(self) -> None:
        for name in ("frames", "height", "width", "supersample"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, found {getattr(self, name)}.")
        if not 0 <= self.extra_views <= MAX_EXTRA_VIEWS:
            raise ValueError(f"extra_views must lie in 0..{MAX_EXTRA_VIEWS}, found {self.extra_views}.")


@dataclass(frozen=True)
class WorldBatch:
    """Rendered scenes: views are the frames in path order, then the held-out views; depth is z-depth in world units."""

    scenes: SceneBatch
    rgb: Float[Tensor, "batch views 3 height width"]
    depth: Float[Tensor, "batch views height width"]
    cameras: Cameras
    captions: tuple[str, ...]

    def exact(self, frames: int) -> ExactScenes:
        """Without what only this world knows; of the views the first ``frames`` are given, the rest held out."""
        return ExactScenes(self.rgb, self.depth, self.cameras, self.captions, frames)


def make_world(
    config: WorldConfig,
    indices: Sequence[int],
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    variant: int = 0,
    path: Callable[[CameraPath], CameraPath] | None = None,
) -> WorldBatch:
    """Render scenes ``indices`` of the configured world; scene i does not depend on the other indices.

    Args:
        config: Which world, and how it is photographed.
        indices: Which scenes.
        device: Where to render.
        dtype: Type of the images, depth and cameras.
        variant: Which of the caption variants.
        path: Another way to move the camera about the same scenes; None: their own. Captions are those of the own path.
    """
    # Sampled and described on the CPU, so that a scene is the same one on every device.
    sampled = sample_scenes(config.seed, indices, dtype=dtype)
    captions = tuple(describe(description, variant) for description in sampled.descriptions())
    # The captions' left and right are those of the first camera of the scene's own path.
    scenes = (sampled if path is None else replace(sampled, path=path(sampled.path))).to(device)
    views = cameras(scenes, config.frames, config.extra_views, config.height, config.width)
    with torch.no_grad():
        rgb, depth = render(scenes, views, config.height, config.width, supersample=config.supersample)
    return WorldBatch(scenes, rgb, depth, views, captions)

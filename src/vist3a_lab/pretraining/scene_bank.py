"""A bank of rendered procedural scenes on the training device.

Rendering is slower than training, so scenes are used several times and replaced slowly: every ``refresh_every`` steps the
``refresh_scenes`` oldest are replaced by new ones. What the bank holds at a step depends on (seed, step) only, so a resumed run
sees the same scenes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from vist3a.generators.word_tokenizer import build_tokenizer
from vist3a.records import Cameras
from vist3a_lab.pretraining.bank_size import BankSize
from vist3a_lab.pretraining.relation_words import relation_targets
from vist3a_lab.procedural import (
    COLOURS,
    RELATIONS,
    SHAPES,
    VOCABULARY,
    SceneLabels,
    cameras,
    describe,
    render,
    sample_scenes,
)
from vist3a_lab.procedural.filming import film
from vist3a_lab.procedural.unsteady import UnsteadyConfig, sample_unsteadiness

CHUNK = 64
UNKNOWN = -1
"""Label of what a scene does not answer."""


@dataclass(frozen=True, kw_only=True)
class BankConfig(BankSize):
    """Size of the bank and of its scenes; ``objects`` fixes the number of objects of all scenes."""

    frames: int = 13
    height: int = 64
    width: int = 64
    supersample: int = 2
    captions: int = 3
    max_words: int = 40
    with_depth: bool = False
    objects: int | None = None
    unsteady: UnsteadyConfig | None = None
    """What happens in the clips (None: nothing). They then have no one geometry: no depth and no held-out views."""

    def __post_init__(self) -> None:
        if self.unsteady is not None and (self.with_depth or self.extra_views):
            raise ValueError(
                "unsteady clips have no depth and no held-out views; allowed: with_depth false, extra_views 0"
            )


class SceneBank:
    """Frames (uint8 [scenes, views, 3, height, width]), captions, labels and, if asked for, depth of ``capacity`` scenes.

    ``caption_ids`` and ``relation_targets`` (see there) are [scenes, captions, words].

    The first ``frames`` views of a scene are the clip, the others are held-out views near its path. ``first`` is the index of the
    first scene.
    """

    def __init__(self, config: BankConfig, seed: int, device: torch.device | str, first: int = 0) -> None:
        self.config, self.seed, self.device = config, seed, torch.device(device)
        self.capacity, self.frames = config.capacity, config.frames
        self.views = config.frames + config.extra_views
        n, size = config.capacity, (config.height, config.width)
        # Bytes, as the whole bank lies in the memory of the device.
        self.rgb = torch.empty(n, self.views, 3, *size, dtype=torch.uint8, device=self.device)
        self._depth = torch.empty(n, self.views, *size, device=self.device) if config.with_depth else None
        self._pose = torch.empty(n, self.views, 4, 4, device=self.device)
        self._intrinsics = torch.empty(n, self.views, 3, 3, device=self.device)
        self.caption_ids = torch.zeros(n, config.captions, config.max_words, dtype=torch.long, device=self.device)
        self.relation_targets = torch.zeros_like(self.caption_ids)
        names = ["count", "ground", "background"]
        names += [f"{what}_of_{colour}" for what in ("shape", "relation") for colour in COLOURS]
        self.labels = {name: torch.empty(n, dtype=torch.long, device=self.device) for name in names}
        self._tokenizer = build_tokenizer(VOCABULARY)
        self._tokenizer.enable_padding(length=config.max_words)
        self._tokenizer.enable_truncation(config.max_words)
        self._first = self._next = first
        self._fill(range(first, first + config.capacity))

    def refresh(self, step: int) -> None:
        """Bring the bank to its state at ``step`` (cheap when steps go up one by one)."""
        if not self.config.refresh_every:
            return
        # Number of the first scene that the bank does not hold yet at this step.
        due = self._first + self.capacity + step // self.config.refresh_every * self.config.refresh_scenes
        if due > self._next:
            # Of a resumed run only what is still in the bank, not all that has passed through it.
            self._fill(range(max(self._next, due - self.capacity), due))

    def draw(self, count: int, generator: torch.Generator) -> Int[Tensor, " count"]:
        """Random bank rows, with repetition."""
        return torch.randint(self.capacity, (count,), generator=generator, device=self.device)

    def cameras(self, scenes: Int[Tensor, " n"], views: Int[Tensor, " v"]) -> Cameras:
        """Cameras of the given rows and views."""
        index = (scenes[:, None], views)
        return Cameras(self._pose[index], self._intrinsics[index])

    def depth_of(self, scenes: Int[Tensor, " n"], views: Int[Tensor, " v"]) -> Tensor:
        """z-depth [n, v, height, width] of the given rows and views."""
        if self._depth is None:
            raise RuntimeError("this bank was built without depth (with_depth=False)")
        return self._depth[scenes[:, None], views]

    @torch.no_grad()
    def _fill(self, indices: range) -> None:
        """Render the scenes ``indices`` into rows index % capacity."""
        config = self.config
        for start in range(0, len(indices), CHUNK):
            chunk = list(indices[start : start + CHUNK])
            rows = torch.tensor([i % self.capacity for i in chunk], device=self.device)
            scenes = sample_scenes(self.seed, chunk, objects=config.objects)
            described = scenes.descriptions()
            texts = [describe(d, variant=v) for d in described for v in range(config.captions)]
            ids = torch.tensor([encoding.ids for encoding in self._tokenizer.encode_batch(texts)])
            shape = (len(chunk), config.captions, config.max_words)
            self.caption_ids[rows] = ids.view(shape).to(self.device)
            self.relation_targets[rows] = relation_targets(texts, config.max_words).view(shape).to(self.device)
            for name, values in attribute_labels(scenes.labels).items():
                self.labels[name][rows] = values.to(self.device)
            scenes = scenes.to(self.device)
            paths = cameras(scenes, config.frames, config.extra_views, config.height, config.width)
            if config.unsteady is None:
                rgb, depth = render(scenes, paths, config.height, config.width, supersample=config.supersample)
            else:
                clip = sample_unsteadiness(self.seed, chunk, config.frames, config.unsteady)
                rgb, depth = film(scenes, clip, config.frames, config.height, config.width), None
            self.rgb[rows] = (rgb * 255).round().to(torch.uint8)
            self._pose[rows], self._intrinsics[rows] = paths.world_to_camera.float(), paths.intrinsics.float()
            if self._depth is not None and depth is not None:
                self._depth[rows] = depth.float()
        self._next = max(self._next, indices.stop)


def attribute_labels(labels: SceneLabels) -> dict[str, Int[Tensor, " scenes"]]:
    """Class ids of what a judge names; no two objects of a scene share a colour, so that a colour names an object.

    ``shape_of_<colour>``: the shape, or ``len(SHAPES)`` when nothing has this colour. ``relation_of_<colour>``: how this
    object stands to the other one as the first camera sees them; ``UNKNOWN`` unless there are two objects, one of them of
    this colour, in a clear relation.
    """
    count = labels.num_objects
    found = {"count": count - 1, "ground": labels.ground, "background": labels.background}
    inverse = torch.tensor([RELATIONS.index(name) for name in ("right", "left", "behind", "front")])
    pair = torch.where(count == 2, labels.relations[:, 0], torch.full_like(count, UNKNOWN))
    for c, colour in enumerate(COLOURS):
        has = labels.colours == c
        # At most one object has the color, so that the sum is its shape.
        shape = torch.where(has, labels.shapes, 0).sum(1)
        found[f"shape_of_{colour}"] = torch.where(has.any(1), shape, torch.full_like(shape, len(SHAPES)))
        # Seen from the second object of the pair; the clamp is for unknown ones, which stay unknown.
        swapped = torch.where(pair >= 0, inverse[pair.clamp(min=0)], pair)
        relation = torch.where(has[:, 0], pair, torch.where(has[:, 1], swapped, torch.full_like(pair, UNKNOWN)))
        found[f"relation_of_{colour}"] = relation
    return found

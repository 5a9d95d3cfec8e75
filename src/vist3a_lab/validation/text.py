"""Does a generated clip show what its prompt says? Judged by a network that nothing is optimised against."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.generators.base import VideoGenerator
from vist3a.runtime.progress import progress
from vist3a.sampling.sampling import SamplingConfig, sample_latents
from vist3a_lab.procedural import Prompt, WorldConfig, cameras, compose, make_world, render, sample_scenes
from vist3a_lab.procedural.uniforms import PROMPT_STREAM, WORDING_STREAM
from vist3a_lab.scorers import DualEncoder
from vist3a_lab.scorers.judging import TASKS, Wanted, read_clip

BLOCK = 64


@dataclass(frozen=True)
class TextFigures:
    """Per task: the share of prompts that the judge finds right, the judge's own accuracy on true renders, and the first
    frame, prompt and verdict of every generated clip.
    """

    generated: dict[str, float]
    judge: dict[str, float]
    samples: dict[str, list[tuple[str, bool, Float[Tensor, "3 height width"]]]]


@torch.no_grad()
def measure_text(
    generator: VideoGenerator,
    judge: DualEncoder,
    world: WorldConfig,
    config: SamplingConfig,
    prompts: int,
    batch: int,
    device: torch.device,
) -> TextFigures:
    """Every task on ``prompts`` texts of ``world.seed`` and on as many true renders of other scenes of that seed."""
    generated, own, samples = {}, {}, {}
    for task, (objects, holds) in TASKS.items():
        texts = list(itertools.islice(_prompts(world.seed, objects, task == "relation"), prompts))
        found: list[tuple[str, bool, Tensor]] = []
        for start in progress(range(0, prompts, batch), f"judge {task}", -(-prompts // batch)):
            block = texts[start : start + batch]
            latents = sample_latents(
                generator, generator.embed, [text.text for text in block], config, world.seed, device, batch=batch
            )
            for text, raw in zip(block, latents, strict=True):
                frames = generator.decode(raw)[0]
                found.append((text.text, holds(read_clip(judge, frames), Wanted.of(text)), frames[0].cpu()))
        samples[task] = found
        generated[task] = sum(right for _, right, _ in found) / prompts
        # On true renders every "wrong" is a mistake of the judge.
        clips = itertools.islice(_true_clips(world, objects, task == "relation", device), prompts)
        own[task] = sum(holds(read_clip(judge, frames), wanted) for frames, wanted in clips) / prompts
    return TextFigures(generated, own, samples)


@torch.no_grad()
def measure_retrieval(
    scorers: Mapping[str, DualEncoder], world: WorldConfig, groups: int, size: int, device: torch.device
) -> dict[str, float]:
    """How often a scorer finds the caption of a scene's middle frame among those of ``size`` scenes, over ``groups`` groups.

    Two scenes of a group may share a caption: then either is right.
    """
    hits = dict.fromkeys(scorers, 0)
    for group in range(groups):
        batch = make_world(world, range(group * size, (group + 1) * size), device=device)
        for name, scorer in scorers.items():
            images = scorer.embed_images(batch.rgb[:, world.frames // 2])
            best = (images @ scorer.embed_text(batch.captions).T).argmax(1).tolist()
            hits[name] += sum(batch.captions[i] == own for i, own in zip(best, batch.captions, strict=True))
    return {name: count / (groups * size) for name, count in hits.items()}


def _prompts(seed: int, objects: int, related: bool) -> Iterator[Prompt]:
    """Prompts of scenes that no training set contains; with ``related`` only those that state a relation."""
    # Without an end: it is not known how many scenes it takes until enough of them state a relation.
    for start in itertools.count(0, BLOCK):
        scenes = sample_scenes(seed, range(start, start + BLOCK), objects=objects, stream=PROMPT_STREAM)
        for description in scenes.descriptions():
            prompt = compose(description, stream=WORDING_STREAM)
            if prompt.relations or not related:
                yield prompt


def _true_clips(
    world: WorldConfig, objects: int, related: bool, device: torch.device
) -> Iterator[tuple[Float[Tensor, "views 3 height width"], Wanted]]:
    """Rendered clips and what they show; with ``related`` only scenes whose objects have a clear relation."""
    for start in itertools.count(0, BLOCK):
        sampled = sample_scenes(world.seed, range(start, start + BLOCK), objects=objects)
        for k, scene in enumerate(sampled.descriptions()):
            if related and not scene.relations:
                continue
            # One by one, as only those that are asked for are worth rendering.
            one = sampled[k : k + 1].to(device)
            path = cameras(one, world.frames, 0, world.height, world.width)
            rgb, _ = render(one, path, world.height, world.width, supersample=world.supersample)
            yield rgb[0], Wanted.of(scene)

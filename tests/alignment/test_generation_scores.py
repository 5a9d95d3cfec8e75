"""Scores of generated scenes: what is asked for is reported, by name and per prompt, and has the value that it has alone."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from jaxtyping import Float
from reconstruction_cases import build
from tiny_alignment import PROMPTS, RENDERED, decoder, scorer
from tiny_networks import tiny_generator, tiny_network
from torch import Tensor

from vist3a.alignment.generation_scores import score_scenes
from vist3a.alignment.rewards.base import Views
from vist3a.alignment.rewards.one_scorer import reward_from
from vist3a.metrics.reprojection import ReprojectionErrors, reprojection_errors
from vist3a.networks.base import ReconstructionModel
from vist3a.records import Reconstruction
from vist3a.rendering.cpu import CpuRenderer


class NearestDepth:
    """A user's metric."""

    more_is_better = True

    def __call__(
        self, scene: Reconstruction, frames: Float[Tensor, "batch views 3 height width"]
    ) -> Float[Tensor, " batch"]:
        return scene.depth.amin((1, 2, 3)) + frames.mean((1, 2, 3, 4))


def is_bright(prompt: str, frames: Float[Tensor, "views 3 height width"]) -> bool:
    """A verdict that reads both."""
    return float(frames.mean()) > 0.5 or "cube" in prompt


@pytest.mark.parametrize("gaussians", [True, False])
def test_every_score_is_there_once_per_prompt_with_its_own_value(gaussians: bool) -> None:
    torch.manual_seed(0)
    network: ReconstructionModel = tiny_network() if gaussians else build("vggt").requires_grad_(False)
    generator, stitched, render = tiny_generator(), decoder(network), CpuRenderer()
    latents = [torch.randn(1, 4, 2, 2, 2, generator=torch.Generator().manual_seed(i)).double() for i in range(2)]
    terms = RENDERED if gaussians else {"text_decoded": 1.0, "reprojection": 0.5}
    reward = reward_from(scorer(1), terms)
    scores, pictures = score_scenes(
        generator,
        stitched,
        render,
        {"reward": reward},
        PROMPTS[:2],
        latents,
        is_bright,
        {"metric/nearest": NearestDepth()},
    )
    kinds = ("decoded", "rendered") if gaussians else ("decoded",)
    names = [f"reward/{name}" for name in ("total", *terms)] + [f"accuracy/{kind}" for kind in kinds]
    names += [f"reprojection/{field.name}" for field in fields(ReprojectionErrors)] + ["metric/nearest"]
    assert scores.keys() == set(names)
    for i, raw in enumerate(latents):
        frames = network.fit(generator.decode(raw))
        scene = stitched(raw, (16, 16), rgb=frames)
        shown = {"decoded": frames}
        if scene.gaussians is not None:
            shown["rendered"] = render(scene.gaussians, scene.cameras, (16, 16)).rgb.clamp(0, 1)
        total, parts = reward(Views(frames, shown.get("rendered"), (PROMPTS[i],), scene))
        expected = {f"reward/{name}": float(value) for name, value in {"total": total, **parts}.items()}
        expected |= {f"accuracy/{kind}": float(is_bright(PROMPTS[i], images[0])) for kind, images in shown.items()}
        # Five frames, views four apart: the first and the last.
        apart = reprojection_errors(scene.depth, scene.cameras, frames, gap=4)
        expected |= {f"reprojection/{name}": float(value) for name, value in vars(apart).items()}
        expected["metric/nearest"] = float(scene.depth.min() + frames.mean())
        assert {name: values[i] for name, values in scores.items()} == pytest.approx(expected, rel=1e-6, nan_ok=True)
        torch.testing.assert_close(pictures[i], torch.cat(list(shown.values())), rtol=1e-6, atol=1e-8)
    assert all(len(values) == 2 for values in scores.values())
    assert scores["metric/nearest"][0] != scores["metric/nearest"][1]


def test_views_are_held_against_those_four_further() -> None:
    """Of nine frames five pairs; of one latent frame and one more the first and the last."""
    torch.manual_seed(0)
    generator, stitched, render = tiny_generator(), decoder(tiny_network()), CpuRenderer()
    for times in (2, 3):
        raw = torch.randn(1, 4, times, 2, 2, generator=torch.Generator().manual_seed(times)).double()
        scores, pictures = score_scenes(generator, stitched, render, {}, PROMPTS[:1], [raw])
        frames = stitched.network.fit(generator.decode(raw))
        scene = stitched(raw, (16, 16), rgb=frames)
        apart = reprojection_errors(scene.depth, scene.cameras, frames, gap=4)
        for name, value in vars(apart).items():
            assert scores[f"reprojection/{name}"] == pytest.approx([float(value)], rel=1e-6, nan_ok=True)
        assert pictures[0].shape[:2] == (2, 4 * times - 3)


def test_what_nobody_asks_for_is_not_scored() -> None:
    torch.manual_seed(0)
    latents = [torch.zeros(1, 4, 2, 2, 2).double()]
    scores, _ = score_scenes(tiny_generator(), decoder(tiny_network()), CpuRenderer(), {}, PROMPTS[:1], latents)
    assert {name.split("/")[0] for name in scores} == {"reprojection"}

"""How far rollouts of one prompt are apart, against loops over pairs in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vist3a.alignment.rewards.base import Views
from vist3a.alignment.rewards.diversity import Diversity
from vist3a.metrics.video import diversity


def distance(first: Tensor, second: Tensor) -> Tensor:
    """Of every pair of pictures."""
    return (first - second).square().mean((1, 2, 3))


def films(count: int, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, 3, 4, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def seen(pictures: Tensor, prompts: tuple[str, ...], mean: bool = False) -> Views:
    if mean:
        return Views(pictures, None, prompts, together=lambda figure: figure.mean().expand_as(figure))
    return Views(pictures, None, prompts)


def apart(pictures: Tensor, prompts: tuple[str, ...], wanted: float) -> Tensor:
    """Of every film the mean distance to the others of its prompt; as far as wanted where there is none."""
    found = []
    for i, prompt in enumerate(prompts):
        others = [j for j, other in enumerate(prompts) if other == prompt and j != i]
        each = [(pictures[i, k] - pictures[j, k]).square().mean() for j in others for k in range(pictures.shape[1])]
        found.append(torch.stack(each).mean() if each else torch.tensor(wanted, dtype=pictures.dtype))
    return torch.stack(found)


@pytest.mark.parametrize("at_once", [None, 1, 4])
@pytest.mark.parametrize(
    "prompts", [("a", "a"), ("a", "b", "a", "b"), ("b", "a", "a", "c", "a", "b"), ("a", "a", "a", "a", "b")]
)
def test_values_and_gradients_are_those_of_a_loop(prompts: tuple[str, ...], at_once: int | None) -> None:
    wanted = 0.4
    one, other = (films(len(prompts)).requires_grad_() for _ in range(2))
    found = Diversity(distance, wanted, at_once)(seen(one, prompts))
    expected = (apart(other, prompts, wanted) / wanted - 1).clamp(max=0)
    torch.testing.assert_close(found, expected)
    weights = torch.arange(1, len(prompts) + 1, dtype=torch.float64)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(one.grad, other.grad)


def test_it_is_the_diversity_that_is_measured() -> None:
    pictures = films(4)
    score = Diversity(distance, 100.0)(seen(pictures, ("a",) * 4))
    assert float((score + 1).mean()) * 100 == pytest.approx(diversity(list(pictures), distance))


def test_of_a_step_the_mean_is_held_and_then_every_one_is_asked() -> None:
    """One pair is closer than wanted and one is further: their mean decides, for both alike."""
    close, far = films(1, 1), films(1, 2)
    prompts = ("near", "near", "wide", "wide")
    pictures = torch.cat([close, close + 0.1, far, 1 - far]).requires_grad_()
    each = apart(pictures.detach(), prompts, 1.0)
    middle = float(each.mean())
    assert float(each[0]) < middle < float(each[2])
    asked = Diversity(distance, middle * 1.001)(seen(pictures, prompts, mean=True))
    torch.testing.assert_close(asked, each / (middle * 1.001) - 1)
    assert float(asked[2].detach()) > 0
    (moved,) = torch.autograd.grad(asked.sum(), pictures)
    assert all(float(one.abs().sum()) > 0 for one in moved)
    held = Diversity(distance, middle * 0.999)(seen(pictures, prompts, mean=True))
    assert torch.equal(held, torch.zeros(4, dtype=torch.float64))
    # At the distance itself nothing is asked.
    exact = Diversity(distance, middle)(Views(pictures, None, prompts, together=lambda x: torch.full_like(x, middle)))
    assert torch.equal(exact, torch.zeros(4, dtype=torch.float64))


def test_samples_alone_are_as_far_as_wanted() -> None:
    """They pull at nothing, and do not lower the mean of the others."""
    pictures = films(3)
    assert torch.equal(Diversity(distance, 0.5)(seen(pictures, ("a", "b", "c"))), torch.zeros(3, dtype=torch.float64))
    means: list[Tensor] = []

    def noted(figure: Tensor) -> Tensor:
        means.append(figure)
        return figure

    Diversity(distance, 0.5)(Views(pictures, None, ("a", "a", "b"), together=noted))
    assert float(means[0][2]) == 0.5 and not means[0].requires_grad
    torch.testing.assert_close(means[0], apart(pictures, ("a", "a", "b"), 0.5))


@pytest.mark.parametrize("wanted", [0.0, -1.0, float("nan")])
def test_no_distance_is_refused(wanted: float) -> None:
    with pytest.raises(ValueError, match=r"align\.diversity: .*; allowed: a perceptual distance above 0"):
        Diversity(distance, wanted)

"""Denoisers that are told how long a step is: nothing changes before they learn, and every sample has its own length."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
import torch
from ltx_video import tiny_ltx
from tiny_generators import tiny

from vist3a.generators.base import VideoGenerator
from vist3a.records import Condition

KINDS = ["wan", "hunyuan_video", "ltx"]


def made(kind: str) -> tuple[VideoGenerator, torch.Tensor, Condition]:
    generator = tiny_ltx() if kind == "ltx" else tiny(kind)
    shape = generator.latent_grid(generator.allowed_frames(9), 64, 64)
    noisy = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    return generator, noisy, generator.embed(["a red ball", "the floor"])


def answer(generator: VideoGenerator, noisy: torch.Tensor, condition: Condition, length: Any = None) -> torch.Tensor:
    times = torch.full((len(noisy),), 700.0)
    with torch.no_grad():
        if length is None:
            return generator.prediction(noisy, times, condition)
        with generator.stepping(torch.as_tensor(length)):
            return generator.prediction(noisy, times, condition)


def learned(generator: VideoGenerator) -> None:
    embedding = generator.learn_lengths()
    with torch.no_grad():
        embedding.length.linear_2.weight.normal_(std=0.5, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_changes_before_anything_is_learned(kind: str) -> None:
    generator, noisy, condition = made(kind)
    plain = answer(generator, noisy, condition)
    assert torch.equal(answer(generator, noisy, condition, 500.0), plain)  # nobody hears of it
    assert generator.learn_lengths() is generator.learn_lengths()
    for length in (None, 0.0, 500.0):
        assert torch.equal(answer(generator, noisy, condition, length), plain)


@pytest.mark.parametrize("kind", KINDS)
def test_lengths_change_the_answer_each_for_its_own_sample(kind: str) -> None:
    generator, noisy, condition = made(kind)
    plain = answer(generator, noisy, condition)
    learned(generator)
    none, far = answer(generator, noisy, condition, 0.0), answer(generator, noisy, condition, 500.0)
    assert torch.equal(answer(generator, noisy, condition), none)  # no length is one of 0
    assert float((far - none).abs().max()) > 1e-4
    both = answer(generator, noisy, condition, [0.0, 500.0])
    torch.testing.assert_close(both[0], none[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(both[1], far[1], rtol=1e-4, atol=1e-5)
    with generator.without_lengths():
        assert torch.equal(answer(generator, noisy, condition, 500.0), plain)
    assert torch.equal(answer(generator, noisy, condition, 500.0), far)


def test_a_guided_prediction_tells_both_of_its_halves() -> None:
    generator, noisy, condition = made("wan")
    learned(generator)
    empty, lengths = generator.embed([""]), torch.tensor([100.0, 500.0])
    with torch.no_grad(), generator.stepping(lengths):
        guided = generator.guided(noisy, torch.tensor(700.0), condition, empty, 3.0)
    with_it, without = (answer(generator, noisy, one, lengths) for one in (condition, empty.rows(2)))
    torch.testing.assert_close(guided, without + 3.0 * (with_it - without), rtol=1e-4, atol=1e-5)


def test_an_error_within_leaves_no_length_behind() -> None:
    generator, noisy, condition = made("wan")
    learned(generator)
    plain = answer(generator, noisy, condition)
    with pytest.raises(RuntimeError), generator.stepping(torch.tensor(500.0)):
        raise RuntimeError
    assert torch.equal(answer(generator, noisy, condition), plain)


def test_callers_at_once_do_not_meet() -> None:
    """Each of two threads that share a generator has told its length before either predicts."""
    generator, noisy, condition = made("wan")
    learned(generator)
    lengths, both = (100.0, 500.0), Barrier(2)
    alone = [answer(generator, noisy, condition, length) for length in lengths]

    def predicted(length: float) -> torch.Tensor:
        with torch.no_grad(), generator.stepping(torch.tensor(length)):
            both.wait(60)
            found = generator.prediction(noisy, torch.full((2,), 700.0), condition)
            both.wait(60)
        return found

    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(predicted, lengths))
    for one, expected in zip(found, alone, strict=True):
        torch.testing.assert_close(one, expected)
    assert not torch.allclose(*found)


def test_its_weights_are_drawn_from_the_seed_alone() -> None:
    drawn = []
    for seed, before in ((3, 1), (3, 2), (4, 1)):
        generator = tiny("wan")
        torch.manual_seed(before)
        state = torch.random.get_rng_state()
        drawn.append(generator.learn_lengths(seed).length.linear_1.weight)
        assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])

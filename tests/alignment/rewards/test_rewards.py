"""Reward terms against direct formulas, and their gradients."""

from __future__ import annotations

import pytest
import torch

from vist3a.alignment.rewards.base import Views
from vist3a.alignment.rewards.consistency import (
    ColorConsistency,
    PerceptualConsistency,
    PhotometricConsistency,
    feature_distance,
)
from vist3a.alignment.rewards.one_scorer import reward_from
from vist3a.alignment.rewards.text_image import TextImageReward
from vist3a.alignment.rewards.weighted_sum import WeightedSum
from vist3a_lab.scorers import DualEncoder, DualEncoderConfig

WORDS = ("a", "red", "blue", "ball")


def scorer(tower: str) -> DualEncoder:
    torch.manual_seed(0)
    config = DualEncoderConfig(
        tower=tower,
        width=16,
        text_depth=1,
        text_heads=2,
        vocabulary=WORDS,
        max_words=6,
        image_size=16,
        conv_channels=(8, 16),
        hybrid_stem=8,
        hybrid_depth=1,
        hybrid_heads=2,
        attributes={"colour": 2},
    )
    return DualEncoder(config).double().eval().requires_grad_(False)


def views(seed: int = 0) -> Views:
    generator = torch.Generator().manual_seed(seed)
    decoded = torch.rand(2, 3, 3, 16, 16, generator=generator, dtype=torch.float64)
    rendered = torch.rand(2, 3, 3, 16, 16, generator=generator, dtype=torch.float64)
    return Views(decoded, rendered, ("a red ball", "a blue ball"))


@pytest.mark.parametrize("tower", ["conv", "hybrid"])
@pytest.mark.parametrize("on", ["decoded", "rendered"])
def test_text_image_is_the_mean_cosine(tower: str, on: str) -> None:
    model, seen = scorer(tower), views()
    scores = TextImageReward(model, on)(seen)
    for i, prompt in enumerate(seen.prompts):
        images = getattr(seen, on)[i]
        expected = torch.stack(
            [
                torch.cosine_similarity(model.embed_images(image[None]), model.embed_text([prompt]))[0]
                for image in images
            ]
        ).mean()
        torch.testing.assert_close(scores[i], expected)
    assert bool((scores.abs() <= 1).all())


def test_a_text_does_not_depend_on_its_batch() -> None:
    model = scorer("conv")
    both = model.embed_text(["a red ball", "ball"])
    torch.testing.assert_close(both[1:], model.embed_text(["ball"]))


def test_photometric_consistency() -> None:
    seen = views()
    expected = -(seen.decoded - seen.rendered).abs().flatten(1).mean(1)
    torch.testing.assert_close(PhotometricConsistency()(seen), expected)
    same = Views(seen.decoded, seen.decoded, seen.prompts)
    assert float(PhotometricConsistency()(same).abs().max()) == 0


def test_color_consistency_sees_light_that_flickers_and_not_what_lies_where() -> None:
    seen = views()
    brighter = Views(
        seen.decoded + torch.tensor([0.1, -0.2, 0.0], dtype=torch.float64)[:, None, None], seen.decoded, seen.prompts
    )
    torch.testing.assert_close(ColorConsistency()(brighter), torch.full((2,), -0.1, dtype=torch.float64))
    mirrored = Views(seen.decoded.flip(-1), seen.decoded, seen.prompts)
    torch.testing.assert_close(ColorConsistency()(mirrored), torch.zeros(2, dtype=torch.float64))
    # Frames are compared one by one: light that wanders between them does not cancel.
    light = torch.tensor([0.3, -0.3, 0.0], dtype=torch.float64)[:, None, None, None]
    torch.testing.assert_close(
        ColorConsistency()(Views(seen.decoded + light, seen.decoded, seen.prompts)),
        torch.full((2,), -0.2, dtype=torch.float64),
    )


@pytest.mark.parametrize("tower", ["conv", "hybrid"])
def test_perceptual_consistency_is_zero_for_equal_views_only(tower: str) -> None:
    term = PerceptualConsistency(feature_distance(scorer(tower).image.features))
    seen = views()
    assert float(term(Views(seen.decoded, seen.decoded, seen.prompts)).abs().max()) == 0
    assert bool((term(seen) < 0).all())


def test_perceptual_consistency_is_a_mean_over_the_views_of_each_sample() -> None:
    """Every pair has its own distance, whatever is beside it: view by view, one at a time."""
    features = scorer("conv").image.features

    def distance(one: torch.Tensor, other: torch.Tensor) -> float:
        """Of LPIPS: squares of the differences of unit feature vectors, summed over channels, mean over places and maps."""
        found = []
        for pair in zip(features(2 * one[None] - 1), features(2 * other[None] - 1), strict=True):
            x, y = (f / f.square().sum(1, keepdim=True).sqrt() for f in pair)
            found.append(float((x - y).square().sum(1).mean()))
        return sum(found) / len(found)

    seen = views()
    term = PerceptualConsistency(feature_distance(features))
    for i, score in enumerate(term(seen)):
        pairs = zip(seen.decoded[i], seen.rendered[i], strict=True)
        assert float(score) == pytest.approx(-sum(distance(*pair) for pair in pairs) / 3, rel=1e-6)
    # Only the second sample is wrong, in its last view.
    rendered = seen.decoded.clone()
    rendered[1, 2] = seen.rendered[1, 2]
    first, second = term(Views(seen.decoded, rendered, seen.prompts)).tolist()
    assert first == 0 and second == pytest.approx(-distance(seen.decoded[1, 2], rendered[1, 2]) / 3, rel=1e-6)
    # Any distance of pairs will do.
    number = torch.arange(6.0).double()
    found = PerceptualConsistency(lambda one, other: number[: len(one)])(seen)
    torch.testing.assert_close(found, -torch.tensor([1.0, 4.0]).double())


def test_weighted_sum_and_its_gradient() -> None:
    weights = {"text_decoded": 1.0, "text_rendered": 0.5, "consistency_l1": 2.0, "consistency_perceptual": 0.25}
    total = reward_from(scorer("conv"), weights)
    seen = views()
    value, parts = total(seen)
    torch.testing.assert_close(value, sum(weights[name] * part for name, part in parts.items()))

    def reward(decoded: torch.Tensor) -> torch.Tensor:
        return total(Views(decoded, seen.rendered, seen.prompts))[0].sum()

    assert torch.autograd.gradcheck(reward, seen.decoded.clone().requires_grad_(True), fast_mode=True)


def test_unknown_terms_are_named() -> None:
    with pytest.raises(ValueError, match=r"unknown terms \['b'\], terms without a weight \['a'\]"):
        WeightedSum({"a": PhotometricConsistency()}, {"b": 1.0})

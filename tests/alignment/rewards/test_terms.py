"""Named terms: only those with a weight are made, and each says what it reads."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vist3a.alignment.rewards.base import Views
from vist3a.alignment.rewards.consistency import ColorConsistency, PhotometricConsistency
from vist3a.alignment.rewards.terms import renders, term_names, weighted_terms
from vist3a.alignment.rewards.text_image import TextImageReward


class Brightness:
    """A scorer whose text is a wish for brightness."""

    def embed_text(self, texts: object) -> torch.Tensor:
        return torch.tensor([float(len(text)) for text in texts])  # type: ignore[attr-defined]

    def score(self, images: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        return images.mean((1, 2, 3)) * text


def distance(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    return (first - second).square().mean((1, 2, 3))


def test_only_what_has_a_weight_is_made_and_needed() -> None:
    scorers = {"text": Brightness(), "hps": Brightness()}
    weights = {
        "text_decoded": None,
        "hps_decoded": 0.5,
        "hps_rendered": None,
        "consistency_l1": None,
        "reprojection": 2.0,
    }
    reward = weighted_terms(weights, scorers, None)
    assert list(reward.terms) == ["hps_decoded", "reprojection"]
    assert reward.weights == {"hps_decoded": 0.5, "reprojection": 2.0}
    assert reward.needs == {"decoded", "scene"}
    assert weighted_terms({"reprojection": 1.0}, {}, None).needs == {"scene"}
    assert weighted_terms({"consistency_perceptual": 1.0}, {}, distance).needs == {"decoded", "rendered"}


def test_scores_and_weights_of_several_models() -> None:
    reward = weighted_terms({"a_decoded": 1.0, "b_rendered": -2.0}, {"a": Brightness(), "b": Brightness()}, None)
    decoded, rendered = torch.full((1, 2, 3, 4, 4), 0.5), torch.full((1, 2, 3, 4, 4), 0.25)
    total, parts = reward(Views(decoded, rendered, ("four",)))
    assert {name: float(part) for name, part in parts.items()} == {"a_decoded": 2.0, "b_rendered": 1.0}
    assert float(total) == 0.0


def test_unknown_terms_and_no_terms_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"reward term 'hps_decoded'; allowed: text_decoded, text_rendered, consistency_l1"
    ):
        weighted_terms({"hps_decoded": 1.0}, {"text": Brightness()}, None)
    with pytest.raises(ValueError, match="no reward term has a weight; allowed: "):
        weighted_terms({"text_decoded": None}, {"text": Brightness()}, None)


def test_terms_that_need_gaussians() -> None:
    names = term_names(("text", "hps"))
    assert {name for name in names if renders(name)} == {
        "text_rendered",
        "hps_rendered",
        "consistency_l1",
        "consistency_perceptual",
        "consistency_color",
    }


def test_missing_views_are_one_sentence() -> None:
    seen = Views(torch.zeros(1, 1, 3, 2, 2), None, ("a",))
    with pytest.raises(ValueError, match="reads rendered views, and there are none"):
        PhotometricConsistency()(seen)
    with pytest.raises(ValueError, match="reads rendered views, and there are none"):
        TextImageReward(Brightness(), "rendered")(seen)
    with pytest.raises(ValueError, match="reads the 3D, and there is none"):
        weighted_terms({"reprojection": 1.0}, {}, None)(seen)


def test_a_path_to_hold_is_asked_for() -> None:
    reward = weighted_terms({"camera_motion": 2.0}, {}, None, 0.3)
    assert reward.needs == {"scene"} and reward.weights == {"camera_motion": 2.0}
    assert not renders("camera_motion") and "camera_motion" in term_names(())
    with pytest.raises(ValueError, match=r"align\.motion: camera_motion has a weight, but no path to hold"):
        weighted_terms({"camera_motion": 2.0}, {}, None)


def test_a_distance_to_hold_is_asked_for() -> None:
    def distance(first: Tensor, second: Tensor) -> Tensor:
        return (first - second).abs().mean((1, 2, 3))

    reward = weighted_terms({"diversity": 2.0}, {}, distance, diversity=0.3)
    assert reward.needs == {"decoded"} and reward.weights == {"diversity": 2.0}
    assert not renders("diversity") and "diversity" in term_names(())
    with pytest.raises(ValueError, match=r"align\.diversity: diversity has a weight, but no distance to hold"):
        weighted_terms({"diversity": 2.0}, {}, distance)


def test_the_color_term_is_made_by_its_name() -> None:
    reward = weighted_terms({"consistency_color": 3.0}, {}, None)
    assert isinstance(reward.terms["consistency_color"], ColorConsistency) and reward.needs == {"decoded", "rendered"}
    assert renders("consistency_color") and "consistency_color" in term_names(())

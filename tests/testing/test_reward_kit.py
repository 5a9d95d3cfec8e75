"""The kit of reward terms: it passes ours and one from outside, and says what is wrong with broken ones."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from example_packages import EXAMPLES
from torch import Tensor

from vist3a.alignment.rewards.base import Need, Reward, Views
from vist3a.alignment.rewards.consistency import PerceptualConsistency, PhotometricConsistency
from vist3a.alignment.rewards.geometry import CameraSmoothness, PointmapCameraConsistency, ReprojectionConsistency
from vist3a.alignment.rewards.text_image import TextImageReward
from vist3a.records import Cameras
from vist3a.testing.rewards import check_reward, some_views

sys.path.insert(0, str(EXAMPLES / "reward_term"))
from moving_camera import MovingCamera


class Brightness:
    """A scorer that likes light, the more the longer the text."""

    def embed_text(self, texts: Sequence[str]) -> Tensor:
        return torch.tensor([[float(len(text))] for text in texts], dtype=torch.float64)

    def score(self, images: Tensor, text: Tensor) -> Tensor:
        return images.flatten(1).mean(1) * text[:, 0]


def blurred(one: Tensor, other: Tensor) -> Tensor:
    return (one - other).square().flatten(1).mean(1)


class Opacity:
    """Reads Gaussians, and says so."""

    needs: frozenset[Need] = frozenset({"scene", "gaussians"})

    def __call__(self, views: Views) -> Tensor:
        return views.gaussians().opacities.mean(1) / views.geometry().depth.mean((1, 2, 3))


class OpacityOfTheScene(Opacity):
    needs: frozenset[Need] = frozenset({"scene"})


TERMS: dict[str, Callable[[], Reward]] = {
    "photometric": PhotometricConsistency,
    "perceptual": lambda: PerceptualConsistency(blurred),
    "reprojection": ReprojectionConsistency,
    "pointmap_camera": PointmapCameraConsistency,
    "camera_smoothness": CameraSmoothness,
    "opacity": Opacity,
    "text_decoded": lambda: TextImageReward(Brightness(), "decoded"),
    "text_rendered": lambda: TextImageReward(Brightness(), "rendered"),
}


@pytest.mark.parametrize("name", TERMS)
def test_our_terms_keep_the_contract(name: str) -> None:
    check_reward(TERMS[name])


def standing() -> Views:
    views = some_views(1, 4)
    pose = views.geometry().cameras.world_to_camera[:, :1].expand(-1, 4, -1, -1)
    return replace(views, scene=replace(views.geometry(), cameras=Cameras(pose, views.geometry().cameras.intrinsics)))


def test_the_example_keeps_the_contract_and_punishes_what_stands_still() -> None:
    check_reward(MovingCamera, better=(some_views(1, 4), standing()))


class Base(MovingCamera):
    pass


def test_gaussians_are_there_for_terms_that_name_them() -> None:
    with pytest.raises(AssertionError, match=r"of what it needs .scene. it says: a term of the reward reads Gaussians"):
        check_reward(OpacityOfTheScene)


class KnowsItsBatch(Base):
    def __call__(self, views: Views) -> Tensor:
        scores = super().__call__(views)
        return scores - scores.mean()


class SaysOneNumber(Base):
    def __call__(self, views: Views) -> Tensor:
        return super().__call__(views).mean()


class LikesStanding(Base):
    def __call__(self, views: Views) -> Tensor:
        return -super().__call__(views)


class ReadsWhatItDoesNotName(PhotometricConsistency):
    needs = frozenset({"decoded"})


class SurvivesWithout(PhotometricConsistency):
    def __call__(self, views: Views) -> Tensor:
        if views.decoded is None or views.rendered is None:
            return torch.zeros(len(views.prompts))
        return super().__call__(views)


class NeedsNothing(Base):
    needs = frozenset()


class NeedsAWord(Base):
    needs = frozenset({"scenes"})


class CutsTheGradient(Base):
    def __call__(self, views: Views) -> Tensor:
        return super().__call__(views).detach()


class IsFlat(Base):
    def __init__(self) -> None:
        super().__init__(path=1e-9)


class IsNotFinite(Base):
    def __call__(self, views: Views) -> Tensor:
        return super().__call__(views) / 0


class DrawsLots(Base):
    def __call__(self, views: Views) -> Tensor:
        return super().__call__(views) * (1 + torch.rand(()))


class ChangesWhatItSees(Base):
    def __call__(self, views: Views) -> Tensor:
        score = super().__call__(views)
        views.geometry().depth.mul_(1.5)
        return score


BROKEN = [
    (KnowsItsBatch, "sample 0 alone instead of in a batch"),
    (SaysOneNumber, r"scores are \(\); expected one per sample, \(3,\)"),
    (LikesStanding, "the better sample has .*, the worse .*; higher is better"),
    (ReadsWhatItDoesNotName, r"of what it needs \(decoded\) it says: a term of the reward reads rendered views"),
    (SurvivesWithout, "without (decoded|rendered), which it needs, nothing was said"),
    (NeedsNothing, r"needs is frozenset\(\); allowed: a frozenset of decoded, rendered, scene"),
    (NeedsAWord, r"needs is frozenset\(\{'scenes'\}\); allowed"),
    (CutsTheGradient, "the score has no gradient by what it needs"),
    (IsFlat, "the gradient of the score of sample 0 is 0"),
    (IsNotFinite, "scores are not finite"),
    (DrawsLots, "a second call: score differs"),
    (ChangesWhatItSees, "what it was given, afterwards: scene.depth differs"),
]


@pytest.mark.parametrize(("kind", "sentence"), BROKEN, ids=[kind.__name__ for kind, _ in BROKEN])
def test_broken_terms_are_found(kind: type[Reward], sentence: str) -> None:
    better = (some_views(1, 4), standing()) if kind is LikesStanding else None
    with pytest.raises(AssertionError, match=f"^{kind.__name__}: .*{sentence}"):
        check_reward(kind, better=better)

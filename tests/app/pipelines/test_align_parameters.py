"""Parameters of the reward: which terms there are, what belongs together, what a preset loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import project_config
import pytest
import torch
from omegaconf import OmegaConf
from pydantic import ValidationError

from vist3a_app.pipelines.align.params import AlignParams
from vist3a_app.pipelines.align.reward_models import load_reward_models
from vist3a_lab.scorers import DualEncoder, DualEncoderConfig

CPU = torch.device("cpu")
RENDERED = ["text_decoded", "text_rendered", "consistency_l1", "consistency_perceptual", "consistency_color"]
EMBEDDED = [*RENDERED, "camera_smoothness", "camera_motion"]
MODELS = {"hps": "hps-v2.1", "dfn": "dfn5b-clip-h-14-378"}


def values(environment: str = "base", preset: str | None = None, **changes: Any) -> dict[str, Any]:
    # A preset leaves open what its source does not say.
    given: dict[str, Any] = {}
    if preset is not None:
        given = {"preset": preset, "align": {"prompts_file": "p", "loop": {"steps": 9}}}
    if preset == "paper":
        given["align"]["guidance"] = 5.0
    found: Any = dict(project_config.loader(environment, **given)["parameters"])["align"]
    merged: Any = OmegaConf.to_container(OmegaConf.merge(found, changes))
    return merged


@pytest.fixture
def scorer(tmp_path: Path) -> str:
    config = DualEncoderConfig("conv", 8, 1, 1, ("a", "ball"), image_size=16, conv_channels=(8, 8))
    DualEncoder(config).save_pretrained(tmp_path / "scorer")
    return str(tmp_path / "scorer")


def test_the_embedded_reward_has_text_consistency_and_a_camera_that_moves(scorer: str) -> None:
    params = AlignParams(**values(reward_scorer=scorer))
    models = load_reward_models(params, has_gaussians=True, device=CPU, public={})
    assert list(models.reward.terms) == EMBEDDED
    assert models.reward.weights == dict(zip(EMBEDDED, (3.0, 3.0, 20.0, 1.0, 20.0, 0.1, 12.0), strict=True))
    # The default run pays for nothing but the reward.
    assert models.watched == {}
    assert (params.watch.judge_every, params.watch.previews_every, params.term_gradients_every) == (0, 0, 0)


def test_images_that_a_graph_holds_are_told_to_the_terms_that_score_them(scorer: str) -> None:
    params = AlignParams(**values(reward_scorer=scorer, views_at_once=2))
    terms = load_reward_models(params, has_gaussians=True, device=CPU, public={}).reward.terms
    scored = ("text_decoded", "text_rendered", "consistency_perceptual")
    assert [getattr(terms[name], "at_once", None) for name in scored] == [2, 2, 2]


def test_pointmaps_have_their_own_reward_which_decodes_nothing() -> None:
    params = AlignParams(**values(reward_scorer="nowhere"))
    reward = load_reward_models(params, has_gaussians=False, device=CPU, public={}).reward
    assert reward.needs == {"scene"}
    assert list(reward.terms) == ["reprojection", "pointmap_camera", "camera_smoothness"]


def test_geometry_is_a_reward_of_every_network_and_pictures_only_of_those_with_gaussians() -> None:
    params = AlignParams(**values(reward_scorer="nowhere", rewards_from="geometry"))
    for has_gaussians in (True, False):
        assert load_reward_models(params, has_gaussians, CPU, {}).reward.needs == {"scene"}
    shown = AlignParams(**values(rewards_from="pictures"))
    assert list(shown.weights(True)) == EMBEDDED
    with pytest.raises(ValueError, match=r"align\.rewards_from: pictures, but text_rendered, consistency_l1"):
        shown.weights(False)
    decoded = AlignParams(**values(rewards_from="pictures", rewards=dict.fromkeys(EMBEDDED) | {"text_decoded": 1.0}))
    assert decoded.weights(False) == {"text_decoded": 1.0}
    with pytest.raises(ValidationError, match=r"rewards_from\n.*should be 'pictures' or 'geometry'"):
        AlignParams(**values(rewards_from="latents"))


def test_a_judge_scores_what_there_is(scorer: str, tmp_path: Path) -> None:
    DualEncoder.from_pretrained(Path(scorer)).save_pretrained(tmp_path / "judge")
    params = AlignParams(**values(reward_scorer=scorer, watch={"judge": str(tmp_path / "judge"), "judge_every": 5}))
    watched = load_reward_models(params, has_gaussians=True, device=CPU, public={}).watched
    assert watched["judge"].weights == {"text_decoded": 0.5, "text_rendered": 0.5}
    assert load_reward_models(params, False, CPU, {}).watched["judge"].weights == {"text_decoded": 1.0}
    assert load_reward_models(params, True, CPU, {}, watched=False).watched == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"rewards": {"hps_decoded": 1.0}},
            r"align.rewards: no term hps_decoded; allowed: text_decoded, text_rendered",
        ),
        (
            {"rewards": dict.fromkeys(EMBEDDED)},
            "align.rewards: every weight is null; allowed: at least one of text_decoded",
        ),
        (
            {"geometry_rewards": {"text_rendered": 1.0}},
            "align.geometry_rewards: text_rendered needs renderings, which are not made here; allowed: text",
        ),
        (
            {"reward_scorer": "x", "watch": {"judge": "x", "judge_every": 1}},
            "align.watch.judge: x is part of the reward; allowed: a scorer that is not optimised",
        ),
        (
            {
                "reward_models": MODELS,
                "rewards": {"dfn_rendered": 1.0},
                "watch": {"judge": MODELS["dfn"], "judge_every": 1},
            },
            "align.watch.judge: dfn5b-clip-h-14-378 is part of the reward",
        ),
        ({"gradient_checkpointing": "decoder"}, "gradient_checkpointing\\n.*should be False, True or 'decoders'"),
        ({"variant": "first"}, "align.variant: 'first'; allowed: drtune, last, released"),
        (
            {"denoising_steps": [50, 10]},
            r"align.denoising_steps: \[50, 10\]; allowed: a whole number from 1 on, or a range \[low, high\] of two such",
        ),
        ({"denoising_steps": [10, 20, 30]}, r"align.denoising_steps: \[10, 20, 30\]; allowed"),
        ({"denoising_steps": 10.5}, "align.denoising_steps: 10.5; allowed: a whole number from 1 on"),
        ({"guidance": [0.5, 2.0]}, r"align.guidance: \[0.5, 2.0\]; allowed: a number from 1 on, or a range"),
        ({"guidance": "strong"}, "align.guidance: 'strong'; allowed: a number from 1 on"),
        (
            {"variant": "released", "denoising_steps": [2, 9], "gradient_steps": 2},
            "align.gradient_steps: 2 with variant released needs 3 denoising steps, and align.denoising_steps gives 2; allowed",
        ),
        ({"denoising_steps": 1}, "align.gradient_steps: 2 with variant drtune needs 2 denoising steps"),
    ],
)
def test_what_does_not_fit_is_one_sentence(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        AlignParams(**values(**changes))


def test_a_model_without_a_weight_may_judge() -> None:
    AlignParams(**values(reward_models=MODELS, watch={"judge": MODELS["dfn"], "judge_every": 1}))


def test_features_are_needed_for_the_distance(scorer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from vist3a_app.pipelines.align import reward_models

    class Other(torch.nn.Module):
        """A scorer of another kind."""

    monkeypatch.setattr(reward_models, "load_scorer", lambda *_, **__: Other())
    with pytest.raises(
        ValueError, match=r"align.perceptual: null for reward_scorer .*, which has no feature maps; allowed: lpi"
    ):
        load_reward_models(AlignParams(**values(reward_scorer=scorer)), True, CPU, {})


@pytest.mark.parametrize(
    ("preset", "models"),
    [(None, {"hps", "dfn"}), ("paper", {"hps", "dfn"}), ("released", {"pick", "dfn"})],
)
def test_presets_use_the_published_models(preset: str | None, models: set[str]) -> None:
    params = AlignParams(**values("wan+anysplat", preset))
    weights = params.weights(has_gaussians=True)
    assert {name.split("_")[0] for name in weights if "consistency" not in name} == models
    assert params.watch.judge not in {params.reward_models[name] for name in models}
    # Without the files a run ends here, before anything is trained.
    with pytest.raises(FileNotFoundError, match=r"align.reward_models.\w+: .* is no folder"):
        load_reward_models(params, True, CPU, {})


def test_decoded_views_of_their_own_cannot_be_compared_with_rendered_ones() -> None:
    with pytest.raises(
        ValidationError,
        match=r"align.decoded_views: 1, but consistency_l1 and consistency_perceptual and consistency_color",
    ):
        AlignParams(**values(decoded_views=1))
    alone = {"consistency_l1": None, "consistency_perceptual": None, "consistency_color": None}
    assert AlignParams(**values(decoded_views=1, rewards=alone)).decoded_views == 1


def test_numbers_stay_numbers_and_ranges_are_pairs() -> None:
    params = AlignParams(**values())
    assert (params.variant, params.denoising_steps, params.guidance) == ("drtune", 12, 4.0)
    ranges = AlignParams(**values(denoising_steps=[10, 50], guidance=[4, 6.0]))
    assert (ranges.denoising_steps, ranges.guidance) == ((10, 50), (4.0, 6.0))
    AlignParams(**values(variant="last", denoising_steps=1))


def test_presets_draw_as_published() -> None:
    paper, released = (AlignParams(**values("wan+anysplat", preset)) for preset in ("paper", "released"))
    assert (paper.variant, paper.denoising_steps, paper.gradient_steps) == ("drtune", (10, 50), 2)
    assert (released.variant, released.denoising_steps, released.gradient_steps) == ("released", (10, 50), 2)
    assert released.guidance == (4.0, 6.0)


def test_the_motion_term_needs_the_path_that_it_holds() -> None:
    weights = {"text_decoded": 1.0, "camera_motion": 2.0}
    with pytest.raises(ValidationError, match=r"align\.motion: null, but camera_motion has a weight"):
        AlignParams(**values(rewards=weights, motion=None))
    params = AlignParams(**values(rewards=weights, motion=0.3))
    reward = load_reward_models(params, has_gaussians=True, device=CPU, public={}).reward
    assert reward.terms["camera_motion"].motion == 0.3


def test_the_diversity_term_needs_a_distance_and_several_rollouts_of_a_prompt() -> None:
    weights, several = {"text_decoded": 1.0, "diversity": 2.0}, {"prompts_per_step": 4, "noises_per_prompt": 2}
    refused = r"align\.diversity: .* but diversity has a weight; allowed: a distance above 0"
    for wrong in ({"diversity": None, **several}, {"diversity": 0.5, "noises_per_prompt": 1}):
        with pytest.raises(ValidationError, match=refused):
            AlignParams(**values(rewards=weights, **wrong))
    with pytest.raises(
        ValidationError, match=r"align\.noises_per_prompt: 3, which does not divide align\.prompts_per_step 4"
    ):
        AlignParams(**values(prompts_per_step=4, noises_per_prompt=3))
    params = AlignParams(**values(rewards=weights, diversity=0.5, **several))
    reward = load_reward_models(params, has_gaussians=True, device=CPU, public={}).reward
    assert reward.terms["diversity"].wanted == 0.5 and "decoded" in reward.needs

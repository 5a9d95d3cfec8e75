"""The judge of the claims scores by the terms that it can tell by itself, and says so before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import project_config
import pytest
from omegaconf import OmegaConf

from vist3a_app.pipelines.align.params import AlignParams
from vist3a_app.pipelines.distill.params import DistillParams
from vist3a_app.pipelines.evaluate.params import EvaluateParams
from vist3a_app.pipelines.networks import Networks
from vist3a_lab.pipelines.claims.nodes import measure_claims
from vist3a_lab.pipelines.claims.params import ClaimsParams
from vist3a_lab.pipelines.claims.parts import judge_of
from vist3a_lab.pipelines.claims.training import Study
from vist3a_lab.scorers import DualEncoder, DualEncoderConfig


def given(folder: Path, rewards: dict[str, float | None], **align: Any) -> dict[str, Any]:
    """What the node takes, with one further reward model; nothing but the judge is there."""
    config = DualEncoderConfig("conv", 8, 1, 1, ("a", "ball"), image_size=16, conv_channels=(8, 8))
    DualEncoder(config).save_pretrained(folder / "judge")
    groups = dict(project_config.loader("base")["parameters"])

    def made(kind: Any, group: str, **changes: Any) -> Any:
        return kind(**OmegaConf.to_container(OmegaConf.merge(groups[group], changes)))  # type: ignore[arg-type]

    return {
        "params": made(ClaimsParams, "claims"),
        "distill": made(DistillParams, "distill"),
        "align": made(AlignParams, "align", reward_models={"hps": "hps-v2.1"}, rewards=rewards, **align),
        "evaluate": made(EvaluateParams, "evaluate", judge=str(folder / "judge")),
        "networks": made(Networks, "networks", device="cpu"),
        "stitch_layer": folder / "none",
        "clips": folder / "none",
        "clip_index": pd.DataFrame(),
        "checkpoints": folder / "checkpoints",
        "text_embeddings": folder / "none",
    }


def test_terms_of_other_models_are_left_to_these(tmp_path: Path) -> None:
    _, reward = judge_of(Study(**given(tmp_path, {"hps_rendered": 0.5})))
    assert reward.weights == {
        "text_decoded": 3.0,
        "text_rendered": 3.0,
        "consistency_l1": 20.0,
        "consistency_perceptual": 1.0,
        "consistency_color": 20.0,
        "camera_smoothness": 0.1,
    }


def test_what_a_step_is_to_hold_is_no_judgement(tmp_path: Path) -> None:
    held: dict[str, float | None] = {"camera_motion": 1.0, "diversity": 2.0}
    _, reward = judge_of(Study(**given(tmp_path, held, motion=0.2, diversity=0.65, noises_per_prompt=2)))
    assert not set(held) & set(reward.weights)


@pytest.mark.parametrize("environment", ["base", "gpu", "short"])
def test_a_judge_scores_by_the_rewards_of_every_environment(environment: str, tmp_path: Path) -> None:
    align = AlignParams(**dict(project_config.loader(environment)["parameters"])["align"])
    _, reward = judge_of(Study(**{**given(tmp_path, {}), "align": align}))
    assert "text_decoded" in reward.weights


def test_a_judge_with_nothing_to_say_is_refused_before_training(tmp_path: Path) -> None:
    none = dict.fromkeys(
        ("text_decoded", "text_rendered", "consistency_l1", "consistency_perceptual", "consistency_color", "camera_smoothness",
         "camera_motion")
    )  # fmt: skip
    with pytest.raises(
        ValueError, match=r"align\.rewards: hps_rendered are terms of other models.* allowed: at least one of"
    ):
        measure_claims(**given(tmp_path, {**none, "hps_rendered": 0.5}))
    assert not (tmp_path / "checkpoints").exists()

"""What the alignment study is asked for is checked before anything is trained, and parts are named by what they depend on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import project_config
import pytest
from omegaconf import OmegaConf

from vist3a_app.pipelines.align.params import AlignParams
from vist3a_app.pipelines.networks import Networks
from vist3a_lab.pipelines.alignment_study.nodes import measure_variants
from vist3a_lab.pipelines.alignment_study.params import AlignmentStudyParams
from vist3a_lab.pipelines.alignment_study.parts import Study


def given(folder: Path, align: dict[str, Any] | None = None, **study: Any) -> dict[str, Any]:
    """What the node takes; no network, decoder or clip is there."""
    groups = dict(project_config.loader("base")["parameters"])

    def made(kind: Any, group: str, changes: dict[str, Any]) -> Any:
        return kind(**OmegaConf.to_container(OmegaConf.merge(groups[group], changes)))  # type: ignore[arg-type]

    none = folder / "none"
    return {
        "params": made(AlignmentStudyParams, "alignment_study", study),
        "align": made(AlignParams, "align", align or {}),
        "networks": made(Networks, "networks", {"device": "cpu"}),
        "stitched_decoder": none, "clips": none, "clip_index": pd.DataFrame(), "checkpoints": folder / "checkpoints",
        "text_embeddings": none,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("align", "study", "said"),
    [
        ({}, {"beside": "nowhere"}, r"alignment_study\.beside: nowhere is no folder"),
        (
            {"rewards": {"camera_motion": None}},
            {"camera_motion": None},
            r"alignment_study\.camera_motion: None, and align\.rewards\.camera_motion has no weight",
        ),
        (
            {"motion": None, "rewards": {"camera_motion": None}},
            {"camera_motion": 2.0},
            r"align\.motion: null, but full_motion holds it",
        ),
    ],
)
def test_what_cannot_be_done_is_told_before_training(
    tmp_path: Path, align: dict[str, Any], study: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        measure_variants(**given(tmp_path, align, **study))
    assert not (tmp_path / "checkpoints").exists()


def folders(tmp_path: Path, align: dict[str, Any] | None = None, **study: Any) -> dict[str, str]:
    """Names of the places of parts of seed 1."""
    made = Study(**given(tmp_path, align, **study))
    named = {variant: made._folder("figures", 1, variant, made._params()) for variant in ("generative", "full_motion")}
    return {
        **{key: path.name for key, path in named.items()},
        "adapter": made._folder("adapter", 1, "full_motion", "").name,
    }


def test_a_part_is_made_anew_only_for_what_it_depends_on(tmp_path: Path) -> None:
    first = folders(tmp_path)

    def changed(align: dict[str, Any] | None = None, **study: Any) -> set[str]:
        return {key for key, name in folders(tmp_path, align, **study).items() if name != first[key]}

    # More seeds, or another generator beside, leave what was trained and measured.
    assert changed(seeds=[1, 2, 3, 4], beside="other") == set()
    assert changed(camera_motion=2.0) == {"full_motion", "adapter"}
    # Prompts to judge on are nothing to train on.
    assert changed(prompts=5) == {"generative", "full_motion"}
    assert changed(steps=7) == {"generative", "full_motion", "adapter"}
    assert changed({"generative_weight": 0.75}) == {"generative", "full_motion", "adapter"}

"""What the claims train is what the chain trains, but for the seed and the numbers of steps."""

from __future__ import annotations

from pathlib import Path

from test_judge import given

from vist3a_lab.pipelines.claims.training import Study


def test_as_many_clips_as_the_chain_measures_decide_what_is_kept(tmp_path: Path) -> None:
    study = Study(**given(tmp_path, {}))
    params = study.distillation(3)
    assert params.measured_clips == study.distill.measured_clips > 30
    assert {name for name, value in params if value != getattr(study.distill, name)} == {"seed", "match"}
    assert params.seed == 3
    assert params.match is not None and params.match.loop.steps == study.params.distillation_steps

"""What the layer study concludes from numbers whose conclusion is known."""

from __future__ import annotations

import pytest
import torch

from vist3a.records import StitchPoint
from vist3a_lab.procedural import WorldConfig, make_world
from vist3a_lab.studies.latent_study import LATENTS, latents_statement
from vist3a_lab.studies.layer_study import check_entry, conclusions, render_clips

ERRORS = ("depth_absrel", "rotation_deg", "translation", "points")


def rows(before: list[float], after: list[float], seeds: int = 2):
    return [
        {
            "seed": seed,
            "point": f"encoder.0{i}",
            "index": i,
            "r2": 0.9 - 0.1 * i,
            "before": dict.fromkeys(ERRORS, before[i]),
            "after": dict.fromkeys(ERRORS, after[i] + 0.01 * seed),
        }
        for seed in range(seeds)
        for i in range(len(before))
    ]


def test_the_claim_is_judged_by_ranks() -> None:
    found = conclusions(rows(before=[4.0, 3.0, 2.0, 1.0], after=[1.0, 2.0, 3.0, 4.0]))
    assert found["verdict"] == {
        "fit_error_before": "contradicted",
        "depth_in_network_before": "contradicted",
        "fit_error_after": "holds",
        "depth_in_network_after": "holds",
    }
    assert found["best_fit_is_best_points"] == {"before": 0, "after": 2, "of": 2}
    before, after = found["statement"]
    assert before.startswith("Before distillation")
    assert '"a low fit error gives good outputs" is contradicted (rank correlation -1.00 to -1.00' in before
    assert (
        '"an early block gives good outputs" holds (rank correlation 1.00 to 1.00 over 2 seeds and 4 errors; chance does as '
        in after
    )
    assert after.endswith("smallest error of points in 2 of 2 seeds.")


def test_a_few_points_that_fall_into_order_are_no_proof() -> None:
    """Correlations of .8 in one seed of four points: chance does as well in one of six orders."""
    data = rows(before=[1.0, 2.0, 4.0, 3.0], after=[1.0, 2.0, 4.0, 3.0], seeds=1)
    found = conclusions(data)
    assert min(found["rank_correlation"]["after"]["fit_error"].values()) == pytest.approx(0.8)
    assert found["verdict"]["fit_error_after"] == "undecided"
    assert found["chance"]["fit_error_after"] == pytest.approx(min(1.0, 4 * 4 / 24))
    assert found["points"] == 4


def test_one_seed_that_disagrees_leaves_it_undecided() -> None:
    data = rows(before=[1.0, 2.0, 3.0, 4.0], after=[1.0, 2.0, 3.0, 4.0])
    for row in data[4:]:
        row["after"]["rotation_deg"] = -float(row["index"])
    found = conclusions(data)
    assert found["verdict"]["fit_error_before"] == "holds"
    assert found["verdict"]["fit_error_after"] == "undecided"
    assert found["rank_correlation"]["after"]["fit_error"]["rotation_deg/1"] == pytest.approx(-1)
    assert found["rank_correlation"]["after"]["fit_error"]["rotation_deg/0"] == pytest.approx(1)


def test_kinds_of_latents_are_judged_by_intervals_and_outputs() -> None:
    def found(mode: tuple[float, float], sample: tuple[float, float], *errors: float) -> dict:
        ahead = {
            f"read_on_{read}": {"ahead_of_first": {"low": low, "high": high}}
            for read, (low, high) in (("mode", mode), ("sample", sample))
        }
        return {**ahead, "outputs": dict(zip(("depth", "rotation"), errors, strict=True))}  # fmt: skip

    up, down, unclear = (0.01, 0.02), (-0.2, -0.1), (-0.1, 0.1)
    latents = {
        "mode, raw": {"0": found(unclear, unclear, 1.0, 1.0), "1": found(unclear, unclear, 1.0, 1.0)},
        "mode, normalised": {"0": found(up, unclear, 2.0, 2.0), "1": found(up, up, 2.0, 2.0)},
        "sample, raw": {"0": found(down, unclear, 0.5, 2.0), "1": found(down, unclear, 0.5, 0.5)},
        "sample, normalised": {"0": found(down, unclear, 0.5, 0.5), "1": found(unclear, up, 0.5, 0.5)},
    }
    assert latents.keys() == LATENTS.keys()
    assert latents_statement(latents) == [
        "R² read on the mode: 'mode, normalised' is ahead of 'mode, raw' in every set of scenes; "
        "'sample, raw' is behind 'mode, raw' in every set of scenes.",
        "R² read on the sample: no kind is ahead of or behind 'mode, raw' in every set of scenes.",
        "Errors of the outputs smaller than with 'mode, raw': 'mode, normalised' in 0 of 4, 'sample, raw' in 3 of 4, "
        "'sample, normalised' in 4 of 4.",
    ]


def test_points_that_cannot_be_distilled_are_refused() -> None:
    points = [StitchPoint(name, "encoder", 4, 1, name != "b") for name in "abcd"]
    check_entry(points, "a", "c")
    check_entry(points, "d", None)
    for name, target, allowed in (("b", None, "a, c, d"), ("c", "c", "a"), ("e", "d", "a, c")):
        with pytest.raises(
            ValueError, match=rf"layer_study\.points: '{name}' is no complete entry .* allowed: {allowed}$"
        ):
            check_entry(points, name, target)


def test_clips_of_a_study_are_scenes_of_the_world() -> None:
    world = WorldConfig(7, frames=2, height=16, width=16, supersample=1)
    clips = render_clips(world, {"fit": 3, "selection": 1, "heldout": 2}, torch.device("cpu"))
    assert clips.splits["heldout"] == ["scene-00004", "scene-00005"]
    assert len(clips.frames) == 6
    (last,) = clips.clips("selection")
    expected = make_world(world, [3]).rgb[0]
    assert float((last.frames - expected).abs().max()) <= 0.5 / 255 + 1e-6

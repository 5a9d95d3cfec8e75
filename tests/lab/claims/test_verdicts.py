"""What follows from figures whose answer is known: estimates, shares recovered, and the rule of the verdicts."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from vist3a.metrics import aggregate
from vist3a.metrics.aggregate import few_groups_factor, stratified_counts
from vist3a.metrics.direction import more_is_better
from vist3a_lab.claims.bars import DISTILLED
from vist3a_lab.claims.pooled import Pooled
from vist3a_lab.claims.report import report_of
from vist3a_lab.claims.verdicts import (
    NOVEL_VIEWS,
    ORDER,
    SURFACE,
    TABLE_5,
    Claim,
    linear_fit,
    measured_claims,
    oriented,
)
from vist3a_lab.pages.noise_chart import SHOWN, noise_chart
from vist3a_lab.pipelines.claims.page import claims_page

VARIANTS = {
    "geometry": ("original", "sequential", "stitched", "stitched_distilled"),
    "noise": ("sequential", "stitched_distilled"),
    "shifted": ("original", "sequential", "stitched_distilled", "stitched_distilled_there"),
    "generated": ("sequential", "stitched_distilled", "aligned"),
    "orders": ("original_true", "original_shuffled", "stitched_true", "stitched_true_backwards", "stitched_shuffled",
               "stitched_ordered"),
}  # fmt: skip
FIGURES = {
    "geometry": {*TABLE_5, *NOVEL_VIEWS, "depth_absrel", "rotation_deg"}, "noise": {*SURFACE, *SHOWN},
    "shifted": {"nvs_psnr", "nvs_ssim", "depth_absrel", "points", "rotation_deg", "auc_30"},
    "generated": {"accuracy/decoded", "accuracy/rendered", "consistency_psnr", "reprojection/pixels", "reprojection/depth"},
    "orders": set(ORDER),
}  # fmt: skip

CORRELATIONS = {"depth_absrel/1": 0.6, "points/1": 0.8, "depth_absrel/2": 1.0, "points/2": 0.8}
STUDY = {
    "seeds": [1, 2],
    "points": 4,
    "chance": {"fit_error_before": 0.6, "fit_error_after": 0.02},
    "verdict": {"fit_error_before": "undecided", "fit_error_after": "holds"},
    "rank_correlation": {
        "before": {"fit_error": CORRELATIONS | {"points/2": -0.2}},
        "after": {"fit_error": CORRELATIONS},
    },
}


def estimate(low: float, high: float) -> dict[str, float]:
    return {"value": (low + high) / 2, "low": low, "high": high}


def world(quality: dict[str, float]) -> dict:
    """Figures of three seeds with 16 items: about 10, better by the quality of the variant."""
    random = np.random.default_rng(0)

    def part(name: str) -> dict:
        base = {figure: 10 + random.normal(size=16) for figure in sorted(FIGURES[name])}
        return {
            variant: {
                figure: list(
                    values
                    + (1 if more_is_better(figure) else -1) * quality.get(variant, 0.0)
                    + random.normal(size=16) / 50
                )
                for figure, values in base.items()
            }
            for variant in VARIANTS[name]
        }

    seeds = ("1", "2", "3")
    found = {name: {seed: part(name) for seed in seeds} for name in ("geometry", "generated", "orders")}
    keyed = {"noise": ("0", "0.13", "0.5"), "shifted": ("wide_lens", "exposure")}
    return {
        **found,
        **{name: {seed: {key: part(name) for key in keys} for seed in seeds} for name, keys in keyed.items()},
    }


def verdicts(quality: dict[str, float]) -> dict[str, str]:
    return {one["claim"]: one["verdict"] for one in report_of(world(quality), STUDY, seed=0)["claims"]}


def test_a_world_in_which_the_paper_is_right() -> None:
    found = verdicts(
        {
            "stitched_distilled": 1,
            "stitched_distilled_there": 1,
            "stitched": 0.5,
            "aligned": 1.5,
            "stitched_shuffled": -5,
            "stitched_ordered": -0.1,
        }
    )
    assert [verdict for verdict in found.values() if verdict != "not testable here"] == ["holds"] * 17


def test_a_world_in_which_it_is_wrong() -> None:
    quality = {"stitched_distilled": -2, "stitched": -0.5, "aligned": -3, "stitched_ordered": -5}
    quality["stitched_distilled_there"] = -1
    found = verdicts(quality | {"stitched_shuffled": 5})
    ordering = "Ordering views by their pictures recovers at least 90% of what shuffling loses"
    assert found.pop(ordering) == "not decided", "there is nothing to recover"
    assert found.pop("A good linear fit means a good stitched network") == "holds", "another study says so"
    assert {verdict for verdict in found.values() if verdict != "not testable here"} == {"does not hold"}
    assert verdicts(quality | {"stitched_shuffled": -6})[ordering] == "does not hold"


def test_without_a_difference_nothing_is_decided_and_nothing_is_lost() -> None:
    found = verdicts({"stitched_shuffled": -5, "stitched_ordered": -0.5})
    assert found["A stitched network makes better novel views than the original"] == "not decided"
    # Figures of about 10 that differ by thousandths: within a margin of a twentieth.
    assert found["Stitching keeps the quality of pointmaps and poses"] == "holds"
    assert found["Ordering views by their pictures recovers at least 90% of what shuffling loses"] == "not decided"


@pytest.mark.parametrize(
    ("kind", "evidence", "verdict"),
    [
        ("ahead", [(0.1, 0.2), (0.1, 0.3)], "holds"),
        ("ahead", [(0.1, 0.2), (-0.1, 0.3)], "not decided"),
        ("ahead", [(0.1, 0.2), (-0.1, -0.01)], "does not hold"),
        # The margin is .25.
        ("no worse", [(-0.1, 0.2), (-0.2, -0.1)], "holds"),
        ("no worse", [(-0.1, 0.2), (-0.3, 0.3)], "not decided"),
        ("no worse", [(-0.1, 0.2), (-0.4, -0.3)], "does not hold"),
    ],
)
def test_the_rule(kind: str, evidence: list[tuple[float, float]], verdict: str) -> None:
    named = {f"figure {i}": {**estimate(*ends), "margin": 0.25} for i, ends in enumerate(evidence)}
    found = Claim("it is so", "here", kind, named).judged()  # type: ignore[arg-type]
    assert found["verdict"] == verdict
    assert any(f"{name} {one['value']:+.3g} ({one['low']:+.3g}" in found["reason"] for name, one in named.items())


@pytest.mark.parametrize(
    "spread", [0.5, pytest.param(0.0, marks=pytest.mark.long), pytest.param(2.0, marks=pytest.mark.long)]
)
def test_intervals_hold_the_truth_as_often_as_they_say_however_much_seeds_differ(
    spread: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three seeds of 16 items, in 200 simulated studies whose true mean is 0."""
    monkeypatch.setattr(aggregate, "NESTED_RESAMPLES", 400)
    random = np.random.default_rng(int(10 * spread))
    held = 0
    for study in range(200):
        values = {
            str(seed): {"one": {"figure": list(spread * random.normal() + random.normal(size=16))}} for seed in range(3)
        }
        found = Pooled(values, study).mean("one", "figure")
        assert found["low"] <= found["value"] <= found["high"]
        held += found["low"] <= 0 <= found["high"]
    # .95 less three standard deviations of 200 draws.
    assert held / 200 >= 0.905


def test_seeds_that_agree_widen_little_and_one_seed_has_the_interval_of_its_items() -> None:
    random = np.random.default_rng(3)
    items = [list(random.normal(size=40)) for _ in range(3)]
    alike = Pooled({str(n): {"one": {"figure": [x - np.mean(own) for x in own]}} for n, own in enumerate(items)}, 0)
    plain = 1.96 * float(np.std(np.concatenate(items))) / 120**0.5
    found = alike.mean("one", "figure")
    assert 0.8 * plain < found["high"] - found["value"] < 1.6 * plain
    single = Pooled({"1": {"one": {"figure": items[0]}}}, 0).mean("one", "figure")
    assert single["high"] - single["value"] == pytest.approx(1.96 * float(np.std(items[0])) / 40**0.5, rel=0.1)
    with pytest.raises(ValueError, match="1 group; the spread of groups needs two"):
        few_groups_factor(1, 0.95)
    # Student's t of two degrees of freedom, from a table: 4.303.
    assert few_groups_factor(3, 0.95) == pytest.approx(4.3027 / 1.95996 * 1.5**0.5, rel=1e-4)


@pytest.mark.parametrize(("found", "said"), [("holds", "holds"), ("contradicted", "does not hold")])
def test_the_layer_study_has_the_word_on_the_linear_fit(found: str, said: str) -> None:
    one = linear_fit(STUDY | {"verdict": {"fit_error_before": "undecided", "fit_error_after": found}})
    assert (one["verdict"], one["figure"]) == (said, "rank correlation 0.60 to 1.00")
    assert "before it rank correlation -0.20 to 1.00, which is not decided" in one["reason"]


def test_differences_are_paired_and_oriented() -> None:
    rows = {"a": {"ate": [1.0, 2.0, 3.0], "auc_30": [0.5, 0.6, 0.7], "rra_5": [1.0] * 3},
            "b": {"ate": [2.0, 3.0, 4.0], "auc_30": [0.4, 0.5, 0.6], "rra_5": [1.0] * 3}}  # fmt: skip
    pooled = Pooled({"1": rows, "2": rows}, seed=0)
    assert pooled.difference("a", "b", "ate") == {"value": -1.0, "low": -1.0, "high": -1.0}
    found = oriented(pooled, "a", "b", ("ate", "auc_30", "rra_5", "missing"))
    assert set(found) == {"ate", "auc_30"}, "what does not differ anywhere, or was not measured, is no evidence"
    assert found["ate"]["value"] == pytest.approx(1.0) and found["auc_30"]["value"] == pytest.approx(0.1)
    rows["b"]["ate"] = [2.0, 5.0, 2.5]
    pooled = Pooled({"1": rows, "2": rows}, seed=0)
    alone, together = (pooled.difference("a", "b", "ate", count) for count in (1, 20))
    assert together["low"] < alone["low"] < alone["high"] < together["high"] and alone["value"] == together["value"]
    mean = pooled.mean("a", "ate")
    assert mean["low"] < mean["value"] < mean["high"]


def test_intervals_of_a_claim_hold_together() -> None:
    """Ends are the quantiles of resampled means that all intervals of a claim leave out with 5 % in all: figures times levels."""
    random = np.random.default_rng(1)
    rows = {variant: {name: list(random.normal(size=30)) for name in SURFACE} for variant in ("a", "b")}
    pooled = Pooled({"1": rows}, seed=0)
    counts = stratified_counts([30], seed=0) / 30
    for among in (1, 4):
        found = oriented(pooled, "a", "b", SURFACE, "noise 10%: ", among=among)
        assert set(found) == {f"noise 10%: {name}" for name in SURFACE}
        for name in SURFACE:
            sign = 1 if more_is_better(name) else -1
            difference = sign * (np.array(rows["a"][name]) - np.array(rows["b"][name]))
            outside = 0.05 / (len(SURFACE) * among) / 2
            low, high = np.quantile(counts @ difference, [outside, 1 - outside])
            one = found[f"noise 10%: {name}"]
            assert (one["low"], one["high"]) == (pytest.approx(low), pytest.approx(high))
            assert one["value"] == pytest.approx(difference.mean())


def test_the_claim_about_noise_holds_at_all_levels_together() -> None:
    """More levels make wider intervals: the same differences decide less. A level of zero is no noise and does not count."""
    figures = world({"stitched_distilled": 0.01})
    parts = [Pooled({"1": figures[name]["1"]}, 0) for name in ("geometry", "generated", "orders")]
    same = Pooled({"1": figures["noise"]["1"]["0.13"]}, 0)

    def ends(levels: tuple[str, ...]) -> tuple[float, ...]:
        claims = measured_claims(parts[0], dict.fromkeys(levels, same), *parts[1:])
        (one,) = (claim for claim in claims if claim["claim"].startswith("Under noise"))
        assert ("noise 0%: " in one["reason"]) is False
        return tuple(float(end) for end in re.findall(r"\((\S+) to (\S+?)\)", one["figure"])[0])

    one, also_none, eight = ends(("0.01",)), ends(("0", "0.01")), ends(("0", *(f"0.0{i}" for i in range(1, 9))))
    assert one == also_none
    assert eight[1] - eight[0] > 1.05 * (one[1] - one[0])


def test_missing_values_do_not_count() -> None:
    pooled = Pooled({"1": {"a": {"x": [1.0, None, 3.0]}, "b": {"x": [0.0, 5.0, None]}}}, seed=0)
    assert pooled.mean("a", "x")["value"] == 2.0
    assert pooled.difference("a", "b", "x")["value"] == 1.0
    with pytest.raises(ValueError, match="no item has a finite value"):
        Pooled({"1": {"a": {"x": [None]}}}, seed=0).mean("a", "x")


def test_the_share_recovered_in_closed_form() -> None:
    best, worst = np.array([1.0, 2.0, 3.0]), np.array([3.0, 4.0, 7.0])
    lost = worst - best
    rows = {
        "good": {"x": list(best), "auc_30": list(-best), "z": [1.0] * 3, "ate": list(worst)},
        "bad": {"x": list(worst), "auc_30": list(-worst), "z": [1.0] * 3, "ate": list(best)},
        "mine": {
            "x": list(worst - 0.75 * lost),
            "auc_30": list(-worst + 0.25 * lost),
            "z": [0.0] * 3,
            "ate": [0.0] * 3,
        },
    }
    pooled = Pooled({"1": rows, "2": rows}, seed=0)
    for figures, share in ((["x"], 0.75), (["auc_30"], 0.25), (["x", "auc_30", "z", "ate"], 0.5)):
        found = pooled.recovered("mine", "bad", "good", figures)
        assert found is not None and set(found) == {"value", "low", "high"}
        assert all(value == pytest.approx(share) for value in found.values())
    assert pooled.recovered("mine", "bad", "good", ["z", "ate"]) is None


def test_report_page_and_chart_show_the_same() -> None:
    report = report_of(world({"stitched_distilled": 1, "stitched_shuffled": -2}), STUDY, seed=0)
    about = {"seeds": [1, 2], "heldout_seed": 0, "scenes": 8, "noise_scenes": 8, "noise_shares": [0, 0.13, 0.5], "prompts": 8,
             "pixel_step": 4, "distillation_steps": {"tokens": 3, "outputs": 0}, "alignment_steps": 2, "latent_numbers": 4096,
             "shifted_scenes": 6, "distilled_there": True, "device": "the CPU"}  # fmt: skip
    page = claims_page({"about": about, **report})
    assert "alpha = 0.001 is a share of 6.4%" in page and "{" not in page and "quick check" in page
    rows = [one for one in report["shifted_rows"] if one["world"] == "wide_lens"]
    assert [(one["variant"], one["claim"]) for one in rows] == [
        (variant, figure) for variant in DISTILLED for figure in ("novel views", "rotation")
    ]
    for one in rows:
        assert f"| wide_lens | {one['variant']} | {one['claim']} | **{one['verdict']}** | {one['figure']} |" in page
    ratio = report["clean_ratio"]["depth_absrel"]
    assert f"| depth_absrel (-) | {ratio['value']:.3g} ({ratio['low']:.3g} to {ratio['high']:.3g}) |" in page
    for one in report["claims"]:
        assert f"| {one['claim']} | {one['source']} | **{one['verdict']}** |" in page
    ate = report["geometry"]["original"]["ate"]
    assert f"{ate['value']:.3g} ({ate['low']:.3g} to {ate['high']:.3g})" in page
    figure = noise_chart(report["noise"])
    axis = figure.axes[0]
    drawn = {line.get_label(): list(line.get_ydata()) for line in axis.lines}
    wanted = [report["noise"][share]["sequential"]["rotation_deg"]["value"] for share in ("0", "0.13", "0.5")]
    assert drawn["decoded first"] == wanted and not any(math.isnan(value) for value in wanted)

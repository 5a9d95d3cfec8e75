"""The ablation's report on figures whose answer is known, and what each variant optimises."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_networks import tiny_network

from vist3a.metrics.direction import more_is_better
from vist3a.metrics.video import film_figures
from vist3a.rendering import renderer_for
from vist3a_lab.pages.frontier_chart import frontier_chart
from vist3a_lab.pipelines.alignment_study.page import alignment_page
from vist3a_lab.studies.alignment_bars import JUDGE
from vist3a_lab.studies.alignment_study import (
    AGREEMENT,
    BESIDE,
    COUNTERPARTS,
    OPTIMISED,
    SENTENCES,
    SHARP,
    TABLE_6,
    TEXT,
    UNTRAINED,
    VARIANTS,
    report_by_kind,
    report_of,
    variant_weights,
)
from vist3a_lab.studies.film_scores import DIVERSITY, FILM, film_scores

WEIGHTS = {"text_decoded": 1.0, "text_rendered": 2.0, "consistency_l1": 3.0, "consistency_perceptual": 0.25,
           "reprojection": 4.0, "hps_rendered": 0.5}  # fmt: skip
ABOUT = {"seeds": [1, 2, 3], "heldout_seed": 5, "prompts": 12, "steps": 7, "denoising_steps": 8, "prompts_per_step": 3,
         "clips_per_step": 2, "gradient_steps": 2, "guidance": 3.0, "generative_weight": 0.5, "device": "the CPU", "motion": 0.27,
         "diversity_held": None,
         "diversity_noises": 4, "diversity_prompts": 5,
         "weights": {variant: variant_weights(WEIGHTS, variant, 6.0) for variant in OPTIMISED}}  # fmt: skip


def world(quality: dict[str, dict[str, float]]) -> dict:
    """Figures of three seeds with 12 prompts: about 10, moved by ``quality[figure][variant]`` to the better, little noise."""
    random = np.random.default_rng(0)
    figures = sorted({*SHARP, *TEXT, *AGREEMENT, *FILM, "reward/total"})
    found: dict = {}
    films: dict = {}
    for seed in ("1", "2", "3"):
        base = {figure: 10 + random.normal(size=12) for figure in figures}
        found[seed] = {
            variant: {
                figure: list(
                    values
                    + (1 if more_is_better(figure) else -1) * quality.get(figure, {}).get(variant, 0.0)
                    + random.normal(size=12) * 1e-4
                )
                for figure, values in base.items()
            }
            for variant in VARIANTS
        }
        films[seed] = {
            name: {figure: list(10 + more.get(figure, 0.0) + random.normal(size=12) * 1e-4) for figure in FILM}
            for name, more in (("true_clips", {}), (BESIDE, {"film/motion": -5.0}))
        }
    varied = {
        seed: {
            variant: {DIVERSITY: list(10 + quality.get(DIVERSITY, {}).get(variant, 0.0) + random.normal(size=5) * 1e-4)}
            for variant in VARIANTS
        }
        for seed in found
    }
    return {"scores": found, "films": films, DIVERSITY: varied}


def as_the_paper(sign: float) -> dict[str, dict[str, float]]:
    """The counterparts move as the columns of table 6 do, or against them."""
    return {
        COUNTERPARTS[column]: {v: sign * value for v, value in values.items()} for column, values in TABLE_6.items()
    }


@pytest.mark.parametrize(("sign", "verdict"), [(1.0, "holds"), (-1.0, "reversed")])
def test_orderings_follow_the_figures(sign: float, verdict: str) -> None:
    report = report_of(world(as_the_paper(sign)), seed=0)
    assert report["counted"] == {"holds": 0, "reversed": 0, "not decided": 0} | {verdict: 40}
    assert all((one["low"] > 0) == (sign > 0) for one in report["orderings"])
    assert report["statement"][0].startswith("Of 40 orderings of two variants")


def test_equal_variants_decide_nothing_much() -> None:
    counted = report_of(world({}), seed=0)["counted"]
    assert counted["not decided"] >= 30


def test_sentences_follow_the_figures() -> None:
    """Every figure is worth more from variant to variant, in an order of ours."""
    order = {UNTRAINED: 0.0, "consistency": 1.0, "generative": 2.0, "quality": 3.0, "full": 4.0, "full_motion": 0.0}
    report = report_of(world(dict.fromkeys((*SHARP, *TEXT, *AGREEMENT), order)), seed=0)
    assert [one["verdict"] for one in report["claims"]] == ["holds"] * len(SENTENCES)
    swapped = {**order, "full": -1.0}
    report = report_of(world(dict.fromkeys((*SHARP, *TEXT, *AGREEMENT), swapped)), seed=0)
    for (_, _, better, worse, _), one in zip(SENTENCES, report["claims"], strict=True):
        assert one["verdict"] == ("does not hold" if "full" in (better, worse) else "holds")


def test_differences_are_paired_with_no_finetuning() -> None:
    """A gain far smaller than the spread of the prompts is seen, and has its size."""
    report = report_of(world({"reward/total": {"full": 0.01}}), seed=0)
    found = report["differences"]["full - no_finetuning"]["reward/total"]
    assert found["value"] == pytest.approx(0.01, abs=1e-4) and found["low"] > 0
    assert report["means"]["full"]["reward/total"]["high"] - report["means"]["full"]["reward/total"]["low"] > 0.1


def test_a_variant_optimises_its_own_terms() -> None:
    quality = {"text_decoded", "text_rendered", "hps_rendered"}
    agreement = {"consistency_l1", "consistency_perceptual", "reprojection"}
    expected = {"generative": set(), "consistency": agreement, "quality": quality, "full": quality | agreement}
    for variant, optimised in expected.items():
        weights = variant_weights(WEIGHTS, variant)
        assert weights == {name: WEIGHTS[name] if name in optimised else 0.0 for name in WEIGHTS}
    assert variant_weights(WEIGHTS, "full_motion", 6.0) == {**WEIGHTS, "camera_motion": 6.0}
    varied = {**WEIGHTS, "diversity": 3.0}
    assert (
        variant_weights(varied, "full")["diversity"] == 0.0
        and variant_weights(varied, "full_motion", 6.0)["diversity"] == 3.0
    )
    held = {**WEIGHTS, "camera_motion": 2.0}
    assert variant_weights(held, "full_motion") == held and variant_weights(held, "full")["camera_motion"] == 0.0
    with pytest.raises(
        ValueError, match=r"alignment_study\.camera_motion: None, and align\.rewards\.camera_motion has no weight"
    ):
        variant_weights(WEIGHTS, "full_motion")


def test_the_sentences_are_those_of_the_table() -> None:
    for _, columns, better, worse, _ in SENTENCES:
        for column in columns.split(", "):
            assert TABLE_6[column][better] > TABLE_6[column][worse]


def by_kind() -> dict:
    """Two seeds of two prompts: the first has one right cone before alignment and none after."""
    verdicts = {
        "1": {UNTRAINED: [1.0, 0.0], "full_motion": [0.0, 1.0]},
        "2": {UNTRAINED: [1.0, 1.0], "full_motion": [1.0, 1.0]},
    }
    figures: dict = {
        seed: {
            variant: {"accuracy/rendered": values, "consistency_psnr": [None, 20.0]} for variant, values in own.items()
        }
        for seed, own in verdicts.items()
    }
    return report_by_kind(figures, {"1": [["cone"], ["cube"]], "2": [["cube"], ["cube"]]})


def test_kinds_are_counted_over_the_prompts_of_all_seeds() -> None:
    found = by_kind()
    assert found["worst"] == {"accuracy/rendered": ["cone"]}
    assert [(row["kind"], row["prompts"], row["before"], row["after"]) for row in found["rows"]] == [
        ("cone", 1, 1.0, 0.0),
        ("cube", 3, pytest.approx(2 / 3), 1.0),
    ]


def test_the_page_shows_everything() -> None:
    report = {"about": ABOUT, **report_of(world(as_the_paper(1.0)), seed=0), "kinds": by_kind()}
    page = alignment_page(report)
    assert "- accuracy/rendered: cone 0% (0% to 79%, 1 prompt)" in page
    assert "| accuracy/rendered | cube | 3 | 67% (21% to 94%) | 100% (44% to 100%) |" in page
    assert all(f"* {sentence}" in page for sentence in report["statement"])
    assert "| generative - no_finetuning | consistency - no_finetuning |" in page
    assert page[page.index("## Every ordering") :].count("| **holds** |") == 40
    assert "| hps_rendered | 0 | 0 | 0.5 | 0.5 | 0.5 |" in page and "| camera_motion | 0 | 0 | 0 | 0 | 6 |" in page
    for one in report["bars"]:
        assert f"| {one['variant']} | {one['claim']} | **{one['verdict']}** | {one['figure']} |" in page
    assert "`beside` another one" in page and "\n| beside | " in page and "quick check" in page


GOOD = {"film/motion": 0.0, "film/rerender": 4.0, "film/flicker": -2.0, JUDGE: 0.5, DIVERSITY: -0.5}


def judged(**changes: float) -> dict[str, str]:
    """Verdicts on ``full_motion``: all figures lie about 10, moved by ``GOOD`` and, of the named ones, by other amounts."""
    moved = {
        **GOOD,
        **{name.replace("_", "/", 1) if name != DIVERSITY else name: value for name, value in changes.items()},
    }
    report = report_of(world({figure: {"full_motion": value} for figure, value in moved.items()}), seed=0)
    return {one["claim"]: one["verdict"] for one in report["bars"] if one["variant"] == "full_motion"}


def test_the_bars_hold_where_all_is_well() -> None:
    assert set(judged().values()) == {"holds"} and len(judged()) == 7


@pytest.mark.parametrize(
    ("change", "value", "failing"),
    [
        ("film_motion", -4.0, "Motion"),
        ("film_rerender", 3.0, "Re-rendering gains at least 3.5"),
        ("film_flicker", -8.0, "Flicker"),
        ("judge_text_decoded", -0.05, "The judge finds prompts better"),
        ("judge_text_decoded", -0.2, "The judge finds prompts at most"),
        ("diversity", -1.5, "Diversity"),
    ],
)
def test_each_bar_fails_by_its_own_figure(change: str, value: float, failing: str) -> None:
    found = judged(**{change: value})
    behind = [claim for claim, verdict in found.items() if verdict == "does not hold"]
    assert any(claim.startswith(failing) for claim in behind)
    assert len(behind) == (2 if value == -0.2 else 1), "the others are of other figures"


@pytest.mark.parametrize(("gain", "verdict"), [(3.45, "not decided"), (3.55, "holds"), (2.0, "does not hold")])
def test_a_gain_reaches_its_bar_by_its_mean_and_stays_above_zero_whole(gain: float, verdict: str) -> None:
    figures = world({figure: {"full_motion": value} for figure, value in GOOD.items()})
    random = np.random.default_rng(1)
    for rows in figures["scores"].values():
        noise = random.normal(size=12)
        rows["full_motion"]["film/rerender"] = list(
            np.array(rows["no_finetuning"]["film/rerender"]) + gain + noise - noise.mean()
        )
    report = report_of(figures, seed=0)
    found = {one["claim"]: one["verdict"] for one in report["bars"] if one["variant"] == "full_motion"}
    assert found["Re-rendering gains at least 3.5 dB over no_finetuning, the whole interval above 0"] == verdict
    assert found["Re-rendering gains at least 1 dB over generative, the whole interval above 0"] == "holds"


def test_the_frontier_shows_every_variant_where_it_stands() -> None:
    report = report_of(world({"film/motion": {"full": -3.0}}), seed=0)
    axis = frontier_chart(report["films"], 0.85).axes[0]
    drawn = {text.get_text(): text.xy for text in axis.texts}
    assert set(drawn) == {*VARIANTS, "true_clips", BESIDE}
    for variant, rows in report["films"].items():
        assert drawn[variant] == (rows["film/motion"]["value"], rows["film/rerender"]["value"])
    assert drawn["full"][0] == pytest.approx(7.0, abs=0.7)
    (bar,) = (line for line in axis.lines if line.get_linestyle() == "--")
    assert bar.get_xdata()[0] == pytest.approx(0.85 * report["films"]["true_clips"]["film/motion"]["value"])


def test_films_are_measured_alike_in_every_batch() -> None:
    network, render = tiny_network(), renderer_for(torch.device("cpu"))
    videos = list(torch.rand(3, 5, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    found = film_scores(network, render, videos, 2, torch.device("cpu"))
    assert set(found) == set(FILM)
    for index, video in enumerate(videos):
        alone = film_figures(network, render, video[None])
        for name in FILM:
            assert found[name][index] == pytest.approx(float(getattr(alone, name.removeprefix("film/"))), rel=1e-9)

"""The ablation's report on figures whose answer is known, and what each variant optimises."""

from __future__ import annotations

import numpy as np
import pytest

from vist3a.metrics.direction import more_is_better
from vist3a_lab.pipelines.alignment_study.page import alignment_page
from vist3a_lab.studies.alignment_study import (
    AGREEMENT,
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

WEIGHTS = {"text_decoded": 1.0, "text_rendered": 2.0, "consistency_l1": 3.0, "consistency_perceptual": 0.25,
           "reprojection": 4.0, "hps_rendered": 0.5}  # fmt: skip
ABOUT = {"seeds": [1, 2, 3], "heldout_seed": 5, "prompts": 12, "steps": 7, "denoising_steps": 8, "prompts_per_step": 3,
         "clips_per_step": 2, "gradient_steps": 2, "guidance": 3.0, "generative_weight": 0.5,
         "weights": {variant: variant_weights(WEIGHTS, variant) for variant in OPTIMISED}}  # fmt: skip


def world(quality: dict[str, dict[str, float]]) -> dict:
    """Figures of three seeds with 12 prompts: about 10, moved by ``quality[figure][variant]`` to the better, little noise."""
    random = np.random.default_rng(0)
    figures = sorted({*SHARP, *TEXT, *AGREEMENT, "reward/total"})
    found: dict = {}
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
    return found


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
    order = {UNTRAINED: 0.0, "consistency": 1.0, "generative": 2.0, "quality": 3.0, "full": 4.0}
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


def test_the_sentences_are_those_of_the_table() -> None:
    for _, columns, better, worse, _ in SENTENCES:
        for column in columns.split(", "):
            assert TABLE_6[column][better] > TABLE_6[column][worse]


def by_kind() -> dict:
    """Two seeds of two prompts: the first has one right cone before alignment and none after."""
    verdicts = {"1": {UNTRAINED: [1.0, 0.0], "full": [0.0, 1.0]}, "2": {UNTRAINED: [1.0, 1.0], "full": [1.0, 1.0]}}
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
    assert page.count("| **holds** |") == 40
    assert "| hps_rendered | 0 | 0 | 0.5 | 0.5 |" in page

"""What this project asks of alignment: repair without standing still, each bar with its interval.

A camera that stands still makes frames that re-render well by themselves, so a gain in re-rendering counts only where the motion
holds.
"""

from __future__ import annotations

from vist3a_lab.claims.bars import above, below
from vist3a_lab.claims.pooled import Estimate, Pooled
from vist3a_lab.claims.verdicts import Claim
from vist3a_lab.studies.film_scores import DIVERSITY

TRUE_CLIPS = "true_clips"
UNALIGNED, GENERATIVE = "no_finetuning", "generative"
JUDGED = ("full", "full_motion")
"""Variants that are held to the bars."""
MOTION_KEPT, FLICKER, DIVERSITY_KEPT = 0.85, 1.5, 0.9
"""Of the motion and flicker of true clips, and of the diversity of the unaligned generator."""
GAINS = {UNALIGNED: 3.5, GENERATIVE: 1.0}
"""dB of re-rendering to be gained over these."""
JUDGE = "judge/text_decoded"
JUDGE_MARGIN = 0.01
"""Share of its score that the judge may take off against the generative loss alone."""


def bars(films: Pooled, scores: Pooled, diversity: Pooled, variant: str) -> list[dict[str, str]]:
    """A verdict per bar.

    Args:
        films: Film figures of all variants and of true clips.
        scores: Scores of all variants by prompt.
        diversity: Diversity of all variants by prompt.
        variant: Whose.
    """
    motion = films.ratio(variant, TRUE_CLIPS, "film/motion")
    claims = [
        _claim(
            f"Motion is at least {MOTION_KEPT:.0%} of true clips'",
            "motion ratio",
            above(motion, MOTION_KEPT),
            MOTION_KEPT,
        )
    ]
    claims += [_gain(films.difference(variant, reference, "film/rerender"), reference) for reference in GAINS]
    flicker = films.ratio(variant, TRUE_CLIPS, "film/flicker")
    claims.append(
        _claim(
            f"Flicker is at most {FLICKER:g} times that of true clips",
            "flicker ratio",
            below(flicker, FLICKER),
            FLICKER,
            "below",
        )
    )
    judged = scores.difference(variant, UNALIGNED, JUDGE)
    claims.append(
        Claim(f"The judge finds prompts better than in {UNALIGNED}", "this project", "ahead", {JUDGE: judged})
    )
    kept = scores.difference(variant, GENERATIVE, JUDGE)
    margin = JUDGE_MARGIN * abs(scores.mean(GENERATIVE, JUDGE)["value"])
    claims.append(
        Claim(
            f"The judge finds prompts at most {JUDGE_MARGIN:.0%} worse than in {GENERATIVE}", "this project", "no worse",
            {JUDGE: {**kept, "margin": margin}},
        )
    )  # fmt: skip
    varied = diversity.ratio(variant, UNALIGNED, DIVERSITY)
    claims.append(
        _claim(
            f"Diversity is at least {DIVERSITY_KEPT:.0%} of the unaligned generator's", "diversity ratio",
            above(varied, DIVERSITY_KEPT), DIVERSITY_KEPT,
        )
    )  # fmt: skip
    return [{"variant": variant, **claim.judged()} for claim in claims]


def _gain(difference: Estimate, reference: str) -> Claim:
    """The mean is to reach the bar, and the interval to stay above no difference at all."""
    bar = GAINS[reference]
    sentence = f"Re-rendering gains at least {bar:g} dB over {reference}, the whole interval above 0"
    if difference["value"] >= bar:
        return Claim(sentence, "this project", "ahead", {"gain in dB": difference})
    return _claim(sentence, "gain in dB", above(difference, bar), bar)


def _claim(sentence: str, figure: str, room: Estimate, bar: float, side: str = "above") -> Claim:
    """Positive room speaks for it."""
    return Claim(sentence, "this project", "ahead", {f"{figure} {side} {bar:g} by": room})

"""The ablation of alignment (VIST3A, table 6): what is optimised in each variant, figures per prompt, which orderings hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from torch import Tensor

from vist3a.alignment.generation_scores import Verdict, score_scenes
from vist3a.alignment.rewards.terms import DIVERSITY as HELD_APART
from vist3a.alignment.rewards.terms import KINDS, MOTION
from vist3a.alignment.rewards.weighted_sum import WeightedSum
from vist3a.generators.base import VideoGenerator
from vist3a.metrics.by_kind import figures_by_kind
from vist3a.metrics.direction import more_is_better
from vist3a.metrics.image import psnr, sharpness
from vist3a.rendering.base import Renderer
from vist3a.stitching.decoder import StitchedDecoder
from vist3a_lab.claims.pooled import BySeed, Pooled
from vist3a_lab.claims.verdicts import Claim, oriented
from vist3a_lab.studies.alignment_bars import JUDGED, TRUE_CLIPS, bars
from vist3a_lab.studies.film_scores import DIVERSITY, FILM

UNTRAINED = "no_finetuning"
OPTIMISED: Mapping[str, frozenset[str]] = {
    "generative": frozenset(),
    "consistency": frozenset({"consistency"}),
    "quality": frozenset({"quality"}),
    "full": frozenset({"consistency", "quality"}),
    "full_motion": frozenset({"consistency", "quality", "motion"}),
}
"""Kinds of reward terms that a variant optimises beside the generative loss."""
VARIANTS = (UNTRAINED, *OPTIMISED)
IN_TABLE = VARIANTS[:-1]
"""The variants of the paper's table; the last one is this project's."""
BESIDE = "beside"
"""A further generator in the picture of the frontier."""

TABLE_6: Mapping[str, Mapping[str, float]] = {
    "Imaging": {"no_finetuning": 50.56, "generative": 54.56, "consistency": 38.67, "quality": 62.27, "full": 64.87},
    "CLIP": {"no_finetuning": 28.14, "generative": 29.71, "consistency": 29.77, "quality": 30.34, "full": 30.18},
    "Align": {"no_finetuning": 3.101, "generative": 3.622, "consistency": 3.581, "quality": 3.643, "full": 3.667},
    "Coher": {"no_finetuning": 3.354, "generative": 3.834, "consistency": 3.767, "quality": 3.842, "full": 3.862},
}
"""Columns of the paper's table 6 that have a counterpart here; its Aesthetic and Style have none."""
COUNTERPARTS = {
    "Imaging": "sharpness/rendered", "CLIP": "judge/text_rendered", "Align": "accuracy/rendered", "Coher": "film/rerender",
}  # fmt: skip
"""The nearest figure of the embedded world, as independent of the reward as the paper's judges are.

All are of renderings, as the paper's, but for Coher: whether the video holds together as one scene is told by the original 3D
network from decoded frames. Renderings of the stitched decoder against frames (``consistency_psnr``) are what the reward of
consistency optimises, and would speak about themselves.
"""

SHARP = ("sharpness/rendered",)
TEXT = ("accuracy/decoded", "accuracy/rendered", "judge/text_decoded", "judge/text_rendered")
AGREEMENT = ("film/rerender", "reprojection/pixels", "reprojection/depth")
SENTENCES = (
    ("The generative loss alone makes scenes follow their prompts better", "Align, CLIP", "generative", UNTRAINED, TEXT),
    ("The generative loss alone makes renderings sharper", "Imaging", "generative", UNTRAINED, SHARP),
    ("The generative loss alone makes scenes more coherent", "Coher", "generative", UNTRAINED, AGREEMENT),
    ("Rewarding consistency alone blurs", "Imaging", "generative", "consistency", SHARP),
    ("Rewarding consistency alone makes scenes less coherent", "Coher", "generative", "consistency", AGREEMENT),
    ("Rewarding quality makes renderings sharper", "Imaging", "quality", "generative", SHARP),
    ("Rewarding quality makes scenes follow their prompts better", "Align, CLIP", "quality", "generative", TEXT),
    ("Quality is the better reward where there is but one", "Imaging, Align, CLIP, Coher", "quality", "consistency",
     (*SHARP, *TEXT, *AGREEMENT)),
    ("Consistency beside quality makes renderings sharper", "Imaging", "full", "quality", SHARP),
    ("Consistency beside quality makes scenes more coherent", "Coher", "full", "quality", AGREEMENT),
    ("The full alignment is better than none in everything", "Imaging, Align, CLIP, Coher", "full", UNTRAINED,
     (*SHARP, *TEXT, *AGREEMENT)),
)  # fmt: skip
"""What the table says: sentence, columns, the better variant, the worse one, figures that must show it."""


def kind_of(term: str) -> str:
    """``quality`` for text-image scores; ``motion`` for what is held, diversity too; ``consistency`` for all agreement."""
    if term in (MOTION, HELD_APART):
        return "motion"
    # Text-image terms are named SCORER_decoded and SCORER_rendered.
    return "quality" if term.rpartition("_")[2] in KINDS else "consistency"


def variant_weights(weights: Mapping[str, float], variant: str, motion: float | None = None) -> dict[str, float]:
    """``weights`` with 0 for the terms that ``variant`` does not optimise: they are still computed and logged.

    ``motion`` is the weight of ``camera_motion`` where that is optimised (None: that of ``weights``).

    Raises:
        ValueError: Motion is optimised, and has no weight.
    """
    if "motion" in OPTIMISED[variant]:
        held = weights.get(MOTION) if motion is None else motion
        if not held:
            raise ValueError(
                f"alignment_study.camera_motion: {motion}, and align.rewards.{MOTION} has no weight; allowed: one of them above 0"
            )
        weights = {**weights, MOTION: held}
    return {name: weight if kind_of(name) in OPTIMISED[variant] else 0.0 for name, weight in weights.items()}


def score_variant(
    generator: VideoGenerator,
    decoder: StitchedDecoder,
    render: Renderer,
    scorers: Mapping[str, WeightedSum],
    verdict: Verdict | None,
    prompts: Sequence[str],
    latents: Sequence[Tensor],
) -> tuple[dict[str, list[float]], list[Tensor]]:
    """Scores of generated scenes (see ``score_scenes``), one value per prompt, two of their pictures, and the decoded frames.

    ``consistency_psnr``: renderings against decoded frames in dB; ``sharpness/decoded``, ``sharpness/rendered``: see
    :func:`vist3a.metrics.image.sharpness`.
    """
    scores, pictures = score_scenes(generator, decoder, render, scorers, prompts, latents, verdict)
    # Here every prompt has one scene, which is apart from no other.
    scores.pop(f"reward/{HELD_APART}", None)
    scores["consistency_psnr"] = [float(psnr(rendered, decoded).mean()) for decoded, rendered in pictures]
    for position, kind in enumerate(KINDS):
        scores[f"sharpness/{kind}"] = [float(sharpness(views[position]).mean()) for views in pictures]
    return scores, [views[0] for views in pictures]


def report_of(figures: Mapping[str, BySeed], seed: int) -> dict[str, Any]:
    """Means, paired differences, orderings, sentences and bars.

    Args:
        figures: ``{part: {seed: {variant: {figure: values}}}}`` with the parts ``scores`` and ``diversity`` of all variants, and
            ``films`` of true clips and of a further generator.
        seed: Draws the bootstrap.
    """
    pooled, diversity = Pooled(figures["scores"], seed), Pooled(figures["diversity"], seed)
    films = Pooled(_films(figures["scores"], figures["films"]), seed)
    pairs = [(variant, UNTRAINED) for variant in OPTIMISED] + [
        (variant, "generative") for variant in OPTIMISED if variant != "generative"
    ]
    names = pooled.figures[UNTRAINED]
    orderings = table_orderings(pooled)
    counted = {
        verdict: sum(one["verdict"] == verdict for one in orderings) for verdict in ("holds", "reversed", "not decided")
    }
    claims = [
        Claim(sentence, f"table 6, {columns}", "ahead", oriented(pooled, better, worse, shown)).judged()
        for sentence, columns, better, worse, shown in SENTENCES
    ]
    return {
        "means": {variant: {name: pooled.mean(variant, name) for name in names} for variant in VARIANTS},
        "differences": {
            f"{one} - {other}": {name: pooled.difference(one, other, name) for name in names} for one, other in pairs
        },
        "films": {variant: {name: films.mean(variant, name) for name in FILM} for variant in films.variants},
        "motion_ratio": {variant: films.ratio(variant, TRUE_CLIPS, "film/motion") for variant in films.variants},
        "diversity": {variant: diversity.mean(variant, DIVERSITY) for variant in VARIANTS},
        "diversity_ratio": {variant: diversity.ratio(variant, UNTRAINED, DIVERSITY) for variant in OPTIMISED},
        "bars": [row for variant in JUDGED for row in bars(films, pooled, diversity, variant)],
        "orderings": orderings,
        "counted": counted,
        "claims": claims,
        "statement": _statement(orderings, counted, claims),
    }


def report_by_kind(figures: BySeed, kinds: Mapping[str, Sequence[Sequence[str]]]) -> dict[str, Any]:
    """:func:`vist3a.metrics.by_kind.figures_by_kind` before and after the full alignment that holds motion, over all seeds.

    ``kinds``: of every prompt, by seed, in the order of the figures.
    """
    pooled: list[dict[str, list[float]]] = []
    for variant in (UNTRAINED, "full_motion"):
        found: dict[str, list[float]] = {}
        for seed in kinds:
            for name, values in figures[seed][variant].items():
                found.setdefault(name, []).extend(float("nan") if value is None else value for value in values)
        pooled.append(found)
    return figures_by_kind([own for of_seed in kinds.values() for own in of_seed], *pooled)


def _films(scores: BySeed, others: BySeed) -> dict[str, dict[str, dict[str, Sequence[float | None]]]]:
    """Film figures of all variants and, after them, of what else there is."""
    return {
        seed: {
            **{variant: {name: rows[name] for name in FILM} for variant, rows in found.items()},
            **{name: dict(rows) for name, rows in others[seed].items()},
        }
        for seed, found in scores.items()
    }


def table_orderings(pooled: Pooled) -> list[dict[str, Any]]:
    """Every pair of variants in every column of table 6, by its counterpart here.

    An ordering holds when the 95 % interval of the paired difference lies wholly on the paper's side of 0, is reversed when it
    lies wholly on the other, and is not decided otherwise. ``difference``, ``low``, ``high``: positive speaks for the paper.
    """
    found: list[dict[str, Any]] = []
    for column, values in TABLE_6.items():
        figure = COUNTERPARTS[column]
        if figure not in pooled.figures[UNTRAINED]:
            continue
        for pair in combinations(IN_TABLE, 2):
            # In all of these columns more is better.
            better, worse = sorted(pair, key=values.__getitem__, reverse=True)
            # A figure of ours may be an error: positive speaks for the paper all the same.
            ours = (better, worse) if more_is_better(figure) else (worse, better)
            estimate = pooled.difference(*ours, figure)
            verdict = "holds" if estimate["low"] > 0 else "reversed" if estimate["high"] < 0 else "not decided"
            found.append(
                {
                    "column": column, "figure": figure, "better": better, "worse": worse, "verdict": verdict,
                    "difference": estimate["value"], "low": estimate["low"], "high": estimate["high"],
                }
            )  # fmt: skip
    return found


def _statement(
    orderings: Sequence[Mapping[str, Any]], counted: Mapping[str, int], claims: Sequence[Mapping[str, str]]
) -> list[str]:
    """Plain sentences: how many orderings hold, in all and by column, and the fate of each sentence of the table."""
    said = [
        f"Of {len(orderings)} orderings of two variants in the paper's table 6, {counted['holds']} hold here, "
        f"{counted['reversed']} are reversed and {counted['not decided']} are not decided."
    ]
    for column, figure in COUNTERPARTS.items():
        own = [one for one in orderings if one["column"] == column]
        if own:
            holds, reverse = (sum(one["verdict"] == verdict for one in own) for verdict in ("holds", "reversed"))
            said.append(f"{column}, here {figure}: {holds} of {len(own)} hold, {reverse} are reversed.")
    return said + [f"{claim['claim']}: {claim['verdict']}. {claim['reason']}" for claim in claims]

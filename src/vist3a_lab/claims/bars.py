"""What this project asks of stitching beyond the paper's sentences, as claims with bars.

How little it may cost on clean latents, from which noise on it must be ahead of decoding first, and that it beats the original
network where that was not trained on the clips' world.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vist3a_lab.claims.pooled import Estimate, Pooled
from vist3a_lab.claims.verdicts import Claim, oriented

OURS, FIRST = "stitched_distilled", "sequential"
NOVEL_VIEWS_LOST = 0.1
"""dB of novel views that stitching may cost on clean latents, against decoding first."""
TIMES: Mapping[str, float] = {"depth_absrel": 1.10, "rotation_deg": 1.05}
"""What an error may grow by there."""
WORDS = {"depth_absrel": "depth", "rotation_deg": "rotation"}
AHEAD_FROM: Sequence[tuple[str, tuple[str, ...], float]] = (
    ("rotation", ("rotation_deg",), 0.13), ("depth and pointmaps", ("depth_absrel", "points"), 0.26),
)  # fmt: skip
"""Figures in which stitching must be ahead from this share of noise on."""
DISTILLED = {
    "stitched_distilled": "distilled on the plain world's clips",
    "stitched_distilled_there": "distilled on unlabeled clips of these worlds",
}
SHIFTED = {"novel views": ("nvs_psnr",), "rotation": ("rotation_deg",)}
HERE = "this project"


def above(estimate: Estimate, bar: float) -> Estimate:
    """How far an estimate lies above a bar."""
    return {end: value - bar for end, value in estimate.items()}


def below(estimate: Estimate, bar: float) -> Estimate:
    """How far an estimate lies below a bar."""
    return {"value": bar - estimate["value"], "low": bar - estimate["high"], "high": bar - estimate["low"]}


def clean_claims(geometry: Pooled) -> list[Claim]:
    """On clean latents stitching costs little against decoding first: a claim per figure, each with its bar."""
    claims = []
    if "nvs_psnr" in geometry.figures[OURS]:
        lost = above(geometry.difference(OURS, FIRST, "nvs_psnr"), -NOVEL_VIEWS_LOST)
        claims.append(
            Claim(
                f"On clean latents stitching costs at most {NOVEL_VIEWS_LOST:g} dB of novel views against decoding first",
                HERE, "ahead", {f"nvs_psnr, difference + {NOVEL_VIEWS_LOST:g}": lost},
            )
        )  # fmt: skip
    for figure, most in TIMES.items():
        room = below(geometry.ratio(OURS, FIRST, figure), most)
        claims.append(
            Claim(
                f"On clean latents stitching has at most {most:.2f} times the error of {WORDS[figure]} of decoding first",
                HERE, "ahead", {f"{figure}, {most:.2f} less the ratio": room},
            )
        )  # fmt: skip
    return claims


def noise_claims(noise: Mapping[str, Pooled]) -> list[Claim]:
    """From some share of noise on stitching is ahead of decoding first, at every share that was measured."""
    claims = []
    for name, figures, least in AHEAD_FROM:
        shares = [share for share in noise if float(share) >= least]
        found: dict[str, Estimate] = {}
        for share in shares:
            prefix = f"noise {float(share):.0%}: "
            found |= oriented(noise[share], OURS, FIRST, figures, prefix, among=len(shares))
        claims.append(
            Claim(f"From noise of {least:.0%} on stitching is ahead of decoding first in {name}", HERE, "ahead", found)
        )
    return claims


def shifted_claims(shifted: Mapping[str, Pooled]) -> list[Claim]:
    """Where the original network was not trained on the clips' world, stitching makes better novel views, in every such world."""
    claims = []
    for variant, how in DISTILLED.items():
        found: dict[str, Estimate] = {}
        for world, pooled in shifted.items():
            if variant in pooled.variants:
                found |= oriented(pooled, variant, "original", SHIFTED["novel views"], f"{world}: ", among=len(shifted))
        if found:
            claims.append(
                Claim(
                    "Where the original was not trained on the clips' world, a stitched network makes better novel views "
                    f"({how})", "section 4.3, table 3", "ahead", found,
                )
            )  # fmt: skip
    return claims


def shifted_rows(shifted: Mapping[str, Pooled]) -> list[dict[str, str]]:
    """Every world, way to distill and figure by itself: against the original network, each interval alone with 95 %."""
    rows = []
    for world, pooled in shifted.items():
        for variant in (name for name in DISTILLED if name in pooled.variants):
            for name, figures in SHIFTED.items():
                judged = Claim(name, "", "ahead", oriented(pooled, variant, "original", figures)).judged()
                rows.append({"world": world, "variant": variant, **judged})
    return rows

"""What measured figures say about each claim of the paper: the verdict follows from the intervals by one rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from vist3a.metrics.direction import more_is_better
from vist3a_lab.claims.pooled import Estimate, Pooled

TABLE_5 = ("accuracy", "completeness", "normals", "rra_5", "rta_5", "auc_30", "ate", "rpe_translation", "rpe_rotation")
"""Pointmap and pose figures of the paper's table 5."""
SURFACE = ("accuracy", "completeness", "normals")
NOVEL_VIEWS = ("nvs_psnr", "nvs_ssim")
ORDER = ("depth_absrel", "points", "rotation_deg", "translation_deg", "auc_30", "ate")
"""Figures that tell what an order of views costs."""
MARGIN = 0.05
"""What is kept may be worse by this share of the reference's figure."""
RECOVERED = 0.9
"""Share of what shuffling loses that ordering must recover."""

Kind = Literal["ahead", "no worse"]


@dataclass(frozen=True)
class Claim:
    """A sentence, where it is made, and the differences that decide it, oriented so that positive speaks for it."""

    statement: str
    source: str
    kind: Kind
    evidence: Mapping[str, Estimate]

    def judged(self) -> dict[str, str]:
        """Holds when the whole interval of every difference lies above its bound; does not hold when that of one lies below it.

        It is not decided otherwise. The bound is 0 (``ahead``), or minus the figure's ``margin`` (``no worse``).
        """
        if not self.evidence:
            found = {"verdict": "not decided", "figure": "", "reason": "Nothing that was measured differs."}
            return {"claim": self.statement, "source": self.source, **found}
        kept = self.kind == "no worse"
        bound = {name: -found.get("margin", 0.0) if kept else 0.0 for name, found in self.evidence.items()}
        ahead = [name for name, found in self.evidence.items() if found["low"] > bound[name]]
        behind = [name for name, found in self.evidence.items() if found["high"] < bound[name]]
        total = len(self.evidence)
        # One figure that is behind refutes a claim; all must be ahead to confirm it.
        if behind:
            verdict, shown = "does not hold", behind[0]
            said = f"{len(behind)} of {total} figures are behind with their whole interval"
            said += f", by more than {MARGIN:.0%} of the reference's" if kept else ""
        elif kept:
            verdict = "holds" if len(ahead) == total else "not decided"
            # The weakest evidence is the example.
            shown = min(self.evidence, key=lambda name: self.evidence[name]["low"] - bound[name])
            said = f"{len(ahead)} of {total} figures lose less than {MARGIN:.0%} of the reference's with their whole interval"
        elif len(ahead) == total:
            verdict, shown = "holds", ahead[0]
            said = f"the whole interval is ahead in all of {total} figures" if total > 1 else "the interval is ahead"
        else:
            verdict, shown = "not decided", next(name for name in self.evidence if name not in ahead)
            said = f"{len(ahead)} of {total} figures are ahead with their whole interval, in the others it includes no difference"
        one = self.evidence[shown]
        figure = f"{shown} {one['value']:+.3g} ({one['low']:+.3g} to {one['high']:+.3g})"
        reason = f"{said[0].upper()}{said[1:]}; for example {figure}." if total > 1 else f"{figure}."
        return {
            "claim": self.statement, "source": self.source, "verdict": verdict, "figure": figure, "reason": reason
        }  # fmt: skip


def oriented(
    pooled: Pooled, variant: str, reference: str, figures: Sequence[str], prefix: str = "", among: int = 1
) -> dict[str, Estimate]:
    """Differences of two variants, positive where ``variant`` is better.

    The intervals hold together, over ``among`` such lists of figures. ``margin`` is what may be lost where a figure is to be
    kept, a share of the reference's. Figures that were not measured, or in which no item differs
    (both at their best), are left out.
    """
    together = among * len(figures)
    found = {}
    for figure in figures:
        if figure in pooled.figures[variant]:
            # Of errors the difference counts the other way round.
            better, worse = (variant, reference) if more_is_better(figure) else (reference, variant)
            estimate = pooled.difference(better, worse, figure, together)
            if any(estimate.values()):
                margin = MARGIN * abs(pooled.mean(reference, figure)["value"])
                found[f"{prefix}{figure}"] = {**estimate, "margin": margin}
    return found


def measured_claims(
    geometry: Pooled, noise: Mapping[str, Pooled], generated: Pooled, orders: Pooled
) -> list[dict[str, str]]:
    """Verdicts on the claims that these figures decide."""
    noisy: dict[str, Estimate] = {}
    levels = [level for level in noise if float(level) > 0]
    for level in levels:
        prefix = f"noise {float(level):.0%}: "
        noisy |= oriented(noise[level], "stitched_distilled", "sequential", SURFACE, prefix, among=len(levels))
    share = orders.recovered("stitched_ordered", "stitched_shuffled", "stitched_true", ORDER)
    # An estimate is held against 0, so the wanted share is taken off.
    beyond = {} if share is None else {key: value - RECOVERED for key, value in share.items()}
    text = ("accuracy/decoded", "accuracy/rendered", "judge/text_decoded", "judge/text_rendered")
    agreement = ("consistency_psnr", "reprojection/pixels", "reprojection/depth")
    claims = [
        Claim(
            "A stitched network makes better novel views than the original", "section 4.3, table 3", "ahead",
            oriented(geometry, "stitched_distilled", "original", NOVEL_VIEWS),
        ),
        Claim(
            "Stitching keeps the quality of pointmaps and poses", "section 4.3, table 5", "no worse",
            oriented(geometry, "stitched_distilled", "original", TABLE_5),
        ),
        Claim(
            "A brief distillation improves what the closed form gives", "section 3.1", "ahead",
            oriented(geometry, "stitched_distilled", "stitched", (*TABLE_5, *NOVEL_VIEWS)),
        ),
        Claim(
            "Under noise on the latents the stitched network is better than decoding first, at every share",
            "appendix D.2, figure 8", "ahead", noisy,
        ),
        Claim(
            "Generated scenes agree better with their frames and with themselves than those of decoding first",
            "appendix D.2, by argument", "ahead", oriented(generated, "stitched_distilled", "sequential", agreement),
        ),
        Claim(
            "Alignment makes scenes follow their prompts better", "section 3.2, table 6", "ahead",
            oriented(generated, "aligned", "stitched_distilled", text),
        ),
        Claim(
            "Alignment makes renderings agree better with the decoded frames", "section 3.2, table 6", "ahead",
            oriented(generated, "aligned", "stitched_distilled", agreement),
        ),
        Claim(
            "The views must be a smooth sequence", "section F, a limitation", "ahead",
            oriented(orders, "stitched_true", "stitched_shuffled", ORDER),
        ),
        Claim(
            f"Ordering views by their pictures recovers at least {RECOVERED:.0%} of what shuffling loses", "this project",
            "ahead", {f"share beyond {RECOVERED:g}": beyond} if beyond else {},
        ),
    ]  # fmt: skip
    return [claim.judged() for claim in claims]


WORDS = {"holds": "holds", "contradicted": "does not hold", "undecided": "not decided"}
"""Verdicts of the layer study in the words of these."""


def linear_fit(study: Mapping[str, Any]) -> dict[str, str]:
    """The layer study's verdict on stitch points, by its own rule."""
    found = {}
    for stage in ("before", "after"):
        values = list(study["rank_correlation"][stage]["fit_error"].values())
        found[stage] = f"rank correlation {min(values):.2f} to {max(values):.2f}"
    return {
        "claim": "A good linear fit means a good stitched network",
        "source": "section 4.4, figures 5 and 6",
        "verdict": WORDS[study["verdict"]["fit_error_after"]],
        "figure": found["after"],
        "reason": (
            f"Error of the fit against errors of the outputs over {study['points']} stitch points, after distillation: "
            f"{found['after']}, in {len(study['seeds'])} seeds and for every error, by chance in "
            f"{study['chance']['fit_error_after']:.2g} of such studies; before it {found['before']}, which is "
            f"{WORDS[study['verdict']['fit_error_before']]} (reports/layer_study.md)."
        ),
    }


ELSEWHERE = (
    ("Any video generator can be stitched to any multi-view network", "section 4.3",
     "It needs the public weights; only one pairing is trained here."),
    ("The scenes are better than those of other text-to-3D methods", "tables 1, 2 and 4",
     "It needs the public weights, the other methods, their benchmarks and people who judge."),
    ("Alignment keeps the video generator's own quality", "table 7", "It needs the public weights and VBench."),
    ("Longer videos give larger scenes, and prompts steer the camera", "figures 9 and 16",
     "The embedded generator was trained on one length, and on prompts without camera words."),
)  # fmt: skip


def not_testable() -> list[dict[str, str]]:
    """Claims that the embedded world cannot decide, with the reason."""
    return [
        {"claim": claim, "source": source, "verdict": "not testable here", "figure": "", "reason": reason}
        for claim, source, reason in ELSEWHERE
    ]

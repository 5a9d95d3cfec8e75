"""The layer search: fit every stitch point, choose its ridge on the selection scenes, rank on the held-out scenes."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from vist3a.records import LayerScore, StitchFit, StitchPoint
from vist3a.stitching.grids import StitchSpec
from vist3a.stitching.moments import Moments
from vist3a.stitching.ridge import Bias, LinearMap, RidgePath, mean_squared_error, r_squared, squared_error


def score_points(
    fit: Moments,
    selection: Moments,
    heldout: Moments,
    points: Sequence[StitchPoint],
    spec: StitchSpec,
    token_grid: tuple[int, int],
    ridges: Sequence[float],
    bias: Bias,
) -> list[tuple[LayerScore, StitchFit]]:
    """Scores and stitch layers of all points, in network order."""
    path = RidgePath(fit, bias)
    plain = path if bias == "channel" else RidgePath(fit, "channel")
    results = []
    for point in points:
        ridge, solution = _best_ridge(path, selection, point.name, ridges)
        _, conv_only = _best_ridge(plain, selection, point.name, ridges)
        score = LayerScore(
            point=point.name,
            kind=point.kind,
            complete=point.complete,
            ridge=ridge,
            mse_heldout=mean_squared_error(heldout, point.name, solution),
            r2_heldout=r_squared(heldout, point.name, solution),
            r2_fit=r_squared(fit, point.name, solution),
            r2_heldout_conv=r_squared(heldout, point.name, conv_only),
        )
        results.append((score, as_layer(fit, point.name, solution, spec, token_grid, ridge, bias)))
    return results


def choose(scores: Sequence[LayerScore], override: str | None = None) -> tuple[LayerScore, str]:
    """The stitch point and the reason: highest held-out R^2 among complete points, or the one asked for."""
    if override is not None:
        named = [score for score in scores if score.point == override]
        if not named:
            raise ValueError(
                f"score.point={override!r}: no such candidate; allowed: {', '.join(s.point for s in scores)}"
            )
        if not named[0].complete:
            complete = ", ".join(s.point for s in scores if s.complete)
            raise ValueError(
                f"score.point={override!r}: heads read features from before this point, so it cannot be entered with a stitch "
                f"layer alone; allowed: {complete}"
            )
        return named[0], "chosen by parameter score.point"
    candidates = [score for score in scores if score.complete]
    if not candidates:
        raise ValueError("no candidate point is a complete entry (see extract.points)")
    best = max(candidates, key=lambda score: score.r2_heldout)
    return best, "highest held-out R^2 among the points that are a complete entry"


def as_layer(
    moments: Moments,
    point: str,
    solution: LinearMap,
    spec: StitchSpec,
    token_grid: tuple[int, int],
    ridge: float,
    bias: Bias,
) -> StitchFit:
    """Tensors of the stitch layer in Conv3d layout, float32; special tokens are their means (first view, other views)."""
    p = moments.points[point]
    weight = solution.weight.T.unflatten(1, (-1, *spec.kernel))
    means = p.special_sum / moments.special_count.clamp(min=1)[:, None, None]
    per_position = solution.bias.unflatten(0, token_grid)
    return StitchFit(
        point=point,
        weight=weight.float().contiguous(),
        bias=solution.bias.mean(0).float(),
        position_bias=per_position.float().contiguous() if bias == "position" else None,
        special_tokens=means.float(),
        ridge=ridge,
    )


def _best_ridge(path: RidgePath, selection: Moments, point: str, ridges: Sequence[float]) -> tuple[float, LinearMap]:
    solutions = [(ridge, path.solve(point, ridge)) for ridge in ridges]
    errors = torch.stack([squared_error(selection, point, solution) for _, solution in solutions])
    return solutions[int(errors.argmin())]

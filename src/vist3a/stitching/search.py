"""The layer search: fit every stitch point, choose its ridge on the selection scenes, rank on the held-out scenes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from vist3a.metrics.aggregate import percentile_interval, resamples
from vist3a.records import LayerScore, StitchFit, StitchPoint
from vist3a.stitching.heldout import Candidate, HeldOut, PointErrors
from vist3a.stitching.moments import Moments
from vist3a.stitching.ridge import Bias, LinearMap, RidgePath, mean_activation, r_squared, squared_error
from vist3a.stitching.tap import TapSettings


@dataclass(frozen=True)
class Solved:
    """The stitch layer of one point, and what it is compared with: a constant, and the convolution without positions."""

    ridge: float
    candidate: Candidate
    conv_only: LinearMap
    r2_fit: float
    layer: StitchFit


def solve_points(
    fit: Moments,
    selection: Moments,
    settings: TapSettings,
    ridges: Sequence[float],
    bias: Bias,
    latent_statistics: Float[Tensor, "2 channels"] | None = None,
) -> dict[str, Solved]:
    """Stitch layers of all points in network order, each with the ridge that is best on the selection scenes."""
    path = RidgePath(fit, bias)
    # What a Conv3d without positions explains, as a comparison.
    plain = path if bias == "channel" else RidgePath(fit, "channel")
    solved = {}
    for name in settings.names:
        ridge, solution = _best_ridge(path, selection, name, ridges)
        _, conv_only = _best_ridge(plain, selection, name, ridges)
        mean = mean_activation(fit, name)
        layer = as_layer(fit, name, solution, settings, ridge, bias, latent_statistics)
        r2_fit = r_squared(fit, name, solution, mean)
        solved[name] = Solved(ridge, Candidate(solution, mean), conv_only, r2_fit, layer)
    return solved


def score_points(
    solved: Mapping[str, Solved], heldout: HeldOut, settings: TapSettings, seed: int, noise: float = 0.0
) -> tuple[LayerScore, ...]:
    """Scores of all points in network order; ``seed`` draws the bootstrap, the same scenes for every point.

    ``noise`` is the share of the latents' root mean square that the layers were fitted for.
    """
    scores = []
    noisy = heldout.moments.noisy(noise)
    for point in settings.points:
        own, errors = solved[point.name], heldout.points[point.name]
        low, high = percentile_interval(_resampled_r2(errors, seed))
        elements = float(heldout.moments.count.sum()) * point.width
        rim = _rim(errors.places[0, 0])
        scores.append(
            LayerScore(
                point=point.name,
                kind=point.kind,
                complete=point.complete,
                ridge=own.ridge,
                mse_heldout=float(errors.scenes[0].sum()) / elements,
                r2_heldout=r2(errors.scenes) or 0.0,
                r2_low=low,
                r2_high=high,
                r2_border=r2(errors.places[:, :, rim]),
                r2_centre=r2(errors.places[:, :, ~rim]),
                r2_frames=tuple(r2(view) for view in errors.places.unbind(1)),
                r2_fit=own.r2_fit,
                r2_heldout_conv=r_squared(heldout.moments, point.name, own.conv_only, own.candidate.mean),
                cka=errors.cka,
                r2_noisy=r_squared(noisy, point.name, own.candidate.solution, own.candidate.mean) if noise else None,
            )
        )
    return tuple(scores)


def check_choice(points: Sequence[StitchPoint], override: str | None = None) -> None:
    """ValueError when no point can be chosen, or the one asked for cannot; before any work is done."""
    complete = [point.name for point in points if point.complete]
    if not complete:
        raise ValueError("no candidate point is a complete entry (see extract.kinds)")
    if override is None or override in complete:
        return
    if override not in [point.name for point in points]:
        allowed = ", ".join(point.name for point in points)
        raise ValueError(f"score.point={override!r}: no such candidate; allowed: {allowed}")
    raise ValueError(
        f"score.point={override!r}: heads read features from before this point, so it cannot be entered with a stitch "
        f"layer alone; allowed: {', '.join(complete)}"
    )


def choose(scores: Sequence[LayerScore], override: str | None = None) -> tuple[LayerScore, str]:
    """The stitch point and the reason: highest held-out R^2 (see :func:`rank`) among complete points, or the one asked for.

    The choice must be possible (:func:`check_choice`).
    """
    if override is not None:
        return next(score for score in scores if score.point == override), "chosen by parameter score.point"
    best = max((score for score in scores if score.complete), key=rank)
    under = "" if best.r2_noisy is None else " under the noise of the fit"
    return best, f"highest held-out R^2{under} among the points that are a complete entry"


def rank(score: LayerScore) -> float:
    """What points are ranked by: held-out R^2, under the noise that the layers were fitted for."""
    return score.r2_heldout if score.r2_noisy is None else score.r2_noisy


def lead(heldout: HeldOut, point: str, others: Sequence[str], seed: int) -> dict[str, str | float] | None:
    """How far the best of ``others`` is behind ``point`` in held-out R^2, with the interval of the paired difference."""
    rivals = {name: r2(heldout.points[name].scenes) or 0.0 for name in others if name != point}
    if not rivals:
        return None
    rival = max(rivals, key=lambda name: rivals[name])
    return {"over": rival, **r2_difference(heldout.points[point], heldout.points[rival], seed)}


def r2_difference(one: PointErrors, other: PointErrors, seed: int) -> dict[str, float]:
    """R^2 of ``one`` minus that of ``other`` on the same scenes, with the interval of resampled scenes."""
    # The same seed draws the same scenes for both, so that the difference is paired.
    low, high = percentile_interval(_resampled_r2(one, seed) - _resampled_r2(other, seed))
    return {"r2": (r2(one.scenes) or 0.0) - (r2(other.scenes) or 0.0), "low": low, "high": high}


def as_layer(
    moments: Moments,
    point: str,
    solution: LinearMap,
    settings: TapSettings,
    ridge: float,
    bias: Bias,
    latent_statistics: Float[Tensor, "2 channels"] | None = None,
    dtype: torch.dtype = torch.float32,
) -> StitchFit:
    """Tensors of the stitch layer in Conv3d layout, on the host; special tokens are their means by role."""
    p = moments.points[point]
    # Features are ordered as Conv3d orders its weight: channel, time, row, column.
    weight = solution.weight.T.unflatten(1, (-1, *settings.spec.kernel))
    # A role that no view has, as the others in clips of one view, has a sum and a count of zero.
    means = p.special_sum / moments.special_count.clamp(min=1)[:, None, None]
    per_position = solution.bias.unflatten(0, settings.token_grid)
    return StitchFit(
        point=point,
        weight=_stored(weight, dtype),
        bias=_stored(solution.bias.mean(0), dtype),
        position_bias=_stored(per_position, dtype) if bias == "position" else None,
        special_tokens=_stored(means, dtype),
        ridge=ridge,
        latent_statistics=None if latent_statistics is None else _stored(latent_statistics, dtype),
    )


def _stored(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.to("cpu", dtype).contiguous()


def _best_ridge(path: RidgePath, selection: Moments, point: str, ridges: Sequence[float]) -> tuple[float, LinearMap]:
    solutions = [(ridge, path.solve(point, ridge)) for ridge in ridges]
    errors = torch.stack([squared_error(selection, point, solution) for _, solution in solutions])
    return solutions[int(errors.argmin())]


def r2(errors: Float[Tensor, kinds * places]) -> float | None:
    """1 - error / deviation; None where nothing deviates, as in the middle of a grid that has none."""
    error, deviation = errors.flatten(1).sum(1).tolist()
    return 1 - error / deviation if deviation > 0 else None


def _resampled_r2(errors: PointErrors, seed: int) -> NDArray[np.float64]:
    scenes = errors.scenes.numpy()
    # Scenes are drawn, not tokens: those of one scene are alike.
    drawn = scenes[:, resamples(scenes.shape[1], seed)].sum(-1)
    # Zero over zero (constant activations) explains nothing.
    return 1 - np.divide(drawn[0], drawn[1], out=np.ones_like(drawn[0]), where=drawn[1] > 0)


def _rim(grid: Float[Tensor, "rows columns"]) -> Tensor:
    rim = torch.ones_like(grid, dtype=torch.bool)
    rim[1:-1, 1:-1] = False
    return rim

"""Errors of solved stitch layers on clips they have not seen: by scene, by view, by place; and the alignment of both spaces.

The layers are known before these clips are met, so their residuals are formed directly, in float64, while the activations are at
hand: errors per scene (for intervals over scenes), per view and per position come out of one pass and need almost no memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from vist3a.data.clip_batches import LoadFrames, clip_batches
from vist3a.records import FIRST_AND_OTHERS, TokenRoles, TokenState
from vist3a.stitching.extract import ClipsDone
from vist3a.stitching.moments import CHUNK_BYTES, Moments, activation_chunks, moments_of
from vist3a.stitching.ridge import LinearMap
from vist3a.stitching.tap import Tap


@dataclass(frozen=True)
class Candidate:
    """A solved stitch layer, and the constant per channel it is compared with."""

    solution: LinearMap
    mean: Float[Tensor, " width"]


@dataclass(frozen=True)
class PointErrors:
    """Of one stitch point: squared errors of its layer (row 0) and squared differences to the constant (row 1), summed over
    channels.
    """

    scenes: Float[Tensor, "2 scenes"]
    places: Float[Tensor, "2 views rows columns"]
    cka: float


@dataclass(frozen=True)
class HeldOut:
    """What the held-out clips say; ``moments`` are theirs, for whatever else moments can answer."""

    names: tuple[str, ...]
    moments: Moments
    points: Mapping[str, PointErrors]


@torch.no_grad()
def measure(
    tap: Tap,
    candidates: Mapping[str, Candidate],
    names: Sequence[str],
    load: LoadFrames,
    *,
    batch: int,
    done: ClipsDone = lambda _: None,
) -> HeldOut:
    """Errors of one candidate per tapped point on the named clips, ``batch`` at a time."""
    if not names:
        raise ValueError("no clip to score on: the split heldout is empty (see curate.splits)")
    seen = _Sums(candidates, tap.network.token_roles)
    for clips in clip_batches(names, load, batch, tap.device):
        rows = tap.rows(clips)
        seen.add(rows.patches, rows.states, rows.noise)
        done(len(clips.names))
    return seen.finished(tuple(names))


class _Sums:
    """Running sums over batches."""

    def __init__(
        self,
        candidates: Mapping[str, Candidate],
        roles: TokenRoles = FIRST_AND_OTHERS,
        chunk_bytes: int = CHUNK_BYTES,
    ) -> None:
        self.candidates, self.roles, self.chunk_bytes = candidates, roles, chunk_bytes
        self.moments: Moments | None = None
        self.outer: dict[str, Tensor] = {}
        self.scenes: dict[str, list[Tensor]] = {name: [] for name in candidates}
        self.places: dict[str, Tensor] = {}

    def add(self, patches: Tensor, states: Mapping[str, TokenState], noise: Tensor | None = None) -> None:
        moments = moments_of(patches, states, self.chunk_bytes, self.roles, noise)
        self.moments = moments if self.moments is None else self.moments + moments
        x = patches.flatten(0, 3).double()
        # Half a chunk: residuals take as much room again.
        for names, y in activation_chunks(patches, states, self.chunk_bytes // 2):
            widths = [states[name].patch_tokens.shape[-1] for name in names]
            for name, tokens in zip(names, y.split(widths, dim=1), strict=True):
                # The one product that moments lack and CKA needs.
                outer = tokens.T @ tokens
                self.outer[name] = outer if name not in self.outer else self.outer[name] + outer
                self._residuals(name, x, tokens, patches.shape[:4])

    def _residuals(self, name: str, x: Tensor, y: Tensor, shape: torch.Size) -> None:
        candidate = self.candidates[name]
        fit = candidate.solution
        # y - x W in one call, then the bias of every position.
        error = torch.addmm(y, x, fit.weight, alpha=-1).unflatten(0, (-1, fit.bias.shape[0])).sub_(fit.bias)
        squares = torch.stack([_squares(error.flatten(0, 1)), _squares(y - candidate.mean)]).unflatten(1, shape)
        self.scenes[name].append(squares.sum((2, 3, 4)))
        # Clips may differ in length: the sums are as long as the longest.
        places, known = squares.sum(1), self.places.get(name)
        if known is not None:
            longest = max(known.shape[1], places.shape[1])
            places = _lengthened(known, longest) + _lengthened(places, longest)
        self.places[name] = places

    def finished(self, names: tuple[str, ...]) -> HeldOut:
        assert self.moments is not None
        points = {
            name: PointErrors(
                torch.cat(self.scenes[name], dim=1).cpu(),
                self.places[name].cpu(),
                linear_cka(self.moments, name, self.outer[name]),
            )
            for name in self.candidates
        }
        return HeldOut(names, self.moments, points)


def linear_cka(moments: Moments, point: str, outer: Float[Tensor, "width width"]) -> float:
    """Linear centred kernel alignment of patches x and activations y (Kornblith et al., 2019), with ``outer`` = sum y y'.

    |X'Y|^2 / (|X'X| |Y'Y|) of centred data, Frobenius norms; 1 when they agree up to rotation and scale, 0 when uncorrelated.
    """
    p, count = moments.points[point], moments.count.sum()
    sum_x, sum_y = moments.sum_x.sum(0), p.sum_y.sum(0)
    # Sums over all positions center the data, as the plain convolution sees it.
    cross = p.cross - sum_x.outer(sum_y) / count
    gram_x, gram_y = moments.gram - sum_x.outer(sum_x) / count, outer - sum_y.outer(sum_y) / count
    scale = torch.linalg.matrix_norm(gram_x) * torch.linalg.matrix_norm(gram_y)
    # Constant activations are aligned with nothing.
    return float(cross.square().sum() / scale) if float(scale) > 0 else 0.0


def _squares(rows: Float[Tensor, "rows width"]) -> Float[Tensor, " rows"]:
    return torch.linalg.vector_norm(rows, dim=1).square()


def _lengthened(places: Float[Tensor, "2 views rows columns"], views: int) -> Tensor:
    return functional.pad(places, (0, 0, 0, 0, 0, views - places.shape[1]))

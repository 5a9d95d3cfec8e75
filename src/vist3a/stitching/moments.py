"""Streaming second moments of (latent patches, activations): all that the closed-form fit and its scores need.

Moments of disjoint data add up, so batches, shards, devices and machines are summed, and memory does not grow with the data. All
sums and products are float64: activations have large constants, and what is fitted is what is left after taking them out.

Sums are kept per token position (rows x columns of the token grid), because activations of vision transformers carry a large
constant per position: with them both the plain convolution and the one with a bias per position have exact solutions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vist3a.records import FIRST_AND_OTHERS, TokenRoles, TokenState

CHUNK_BYTES = 1 << 30
"""Size of float64 copies of activations: points are converted and multiplied together as far as they fit."""


@dataclass(frozen=True)
class PointMoments:
    """Sums over activations y of one stitch point; of special tokens by the role of their view."""

    sum_y: Float[Tensor, "positions width"]
    cross: Float[Tensor, "features width"]
    square: Float[Tensor, " width"]
    special_sum: Float[Tensor, "roles special width"]


@dataclass(frozen=True)
class Moments:
    """Sums over latent patches x and, per point, activations y; float64."""

    count: Float[Tensor, " positions"]
    sum_x: Float[Tensor, "positions features"]
    gram: Float[Tensor, "features features"]
    special_count: Float[Tensor, " roles"]
    points: Mapping[str, PointMoments]
    noise: Float[Tensor, "features features"] | None = None
    """What noise of the latents' root mean square adds to ``gram`` (see :mod:`vist3a.stitching.noise`); None: unknown."""

    def noisy(self, share: float) -> Moments:
        """Expected moments of the same clips under independent noise of ``share`` of their latents' root mean square.

        Raises:
            ValueError: ``share`` is negative, or these moments do not know what noise does.

        Example:
            >>> path = RidgePath(moments.noisy(0.15), "channel")
        """
        if share < 0:
            raise ValueError(f"noise is {share:g} of the latents' root mean square; at least 0 is allowed")
        if share == 0:
            return self
        if self.noise is None:
            raise ValueError(
                "these moments are of a version that knew no noise; `kedro run --pipelines=extract` makes them anew, or fit "
                "without noise (score.latent_noise 0)"
            )
        # Noise of mean zero changes no sum, and is independent of the activations.
        return replace(self, gram=self.gram + share**2 * self.noise)

    def __add__(self, other: Moments) -> Moments:
        """Moments of the union of two disjoint data sets; ValueError when they describe different layers."""
        if self.points.keys() != other.points.keys() or self.sum_x.shape != other.sum_x.shape:
            raise ValueError("moments of different stitch points or patch shapes cannot be added")
        own, others = self.state(), other.state()
        # Where one of them does not know its noise, the union does not either.
        return Moments.from_state({key: own[key] + others[key] for key in own if key in others})

    def to(self, device: torch.device) -> Moments:
        """The same on another device."""
        return Moments.from_state({key: tensor.to(device) for key, tensor in self.state().items()})

    def state(self) -> dict[str, Tensor]:
        """Flat tensors for storage."""
        tensors = {
            "count": self.count,
            "sum_x": self.sum_x,
            "gram": self.gram,
            "special_count": self.special_count,
        }
        if self.noise is not None:
            tensors["noise"] = self.noise
        for name, p in self.points.items():
            tensors |= {
                f"{name}/sum_y": p.sum_y,
                f"{name}/cross": p.cross,
                f"{name}/square": p.square,
                f"{name}/special_sum": p.special_sum,
            }
        return tensors

    @classmethod
    def from_state(cls, tensors: Mapping[str, Tensor]) -> Moments:
        """Inverse of :meth:`state`."""
        names = dict.fromkeys(key.rsplit("/", 1)[0] for key in tensors if "/" in key)
        points = {
            name: PointMoments(
                tensors[f"{name}/sum_y"],
                tensors[f"{name}/cross"],
                tensors[f"{name}/square"],
                tensors[f"{name}/special_sum"],
            )
            for name in names
        }
        return cls(
            tensors["count"],
            tensors["sum_x"],
            tensors["gram"],
            tensors["special_count"],
            points,
            tensors.get("noise"),
        )


@torch.no_grad()
def moments_of(
    patches: Float[Tensor, "batch views rows columns features"],
    states: Mapping[str, TokenState],
    chunk_bytes: int = CHUNK_BYTES,
    roles: TokenRoles = FIRST_AND_OTHERS,
    noise: Float[Tensor, "features features"] | None = None,
) -> Moments:
    """Moments of one batch, on the device of the patches; ``roles`` are those of the network's special tokens.

    ``noise`` is what noise on the latents of this batch would add to the products of patches, where it is known.

    The patches are the same for all points, so one product serves all points of a chunk.
    """
    batch, views, rows, columns, _ = patches.shape
    positions = rows * columns
    x = patches.flatten(0, 3).double()
    role_of = roles.of(torch.arange(views))
    # Special tokens are summed by the role of their view, as each role has a set of its own.
    members = [_places(role_of == role) for role in range(len(roles.names))]
    counts = [float(batch * int((role_of == role).sum())) for role in range(len(roles.names))]
    points = {}
    for names, y in activation_chunks(patches, states, chunk_bytes):
        # Points side by side make one wide product, which is faster than one for each.
        cross, sums = x.T @ y, y.unflatten(0, (batch * views, positions)).sum(0)
        squares = torch.linalg.vector_norm(y, dim=0).square()
        start = 0
        for name in names:
            special = states[name].special_tokens.double()
            part = slice(start, start + states[name].patch_tokens.shape[-1])
            points[name] = PointMoments(
                sum_y=sums[:, part].contiguous(),
                cross=cross[:, part].contiguous(),
                square=squares[part].contiguous(),
                special_sum=torch.stack([special[:, places].sum((0, 1)) for places in members]),
            )
            start = part.stop
    return Moments(
        count=torch.full((positions,), float(batch * views), dtype=torch.float64, device=x.device),
        sum_x=x.unflatten(0, (batch * views, positions)).sum(0),
        gram=x.T @ x,
        special_count=torch.tensor(counts, dtype=torch.float64, device=x.device),
        points=points,
        noise=noise,
    )


def _places(chosen: Bool[Tensor, " views"]) -> slice | Tensor:
    """Of what is chosen; a slice where it can be one, which sums in the same order whatever surrounds the views."""
    places = chosen.nonzero()[:, 0]
    if len(places) and int(places[-1] - places[0]) == len(places) - 1:
        return slice(int(places[0]), int(places[-1]) + 1)
    return places


def activation_chunks(
    patches: Float[Tensor, "batch views rows columns features"],
    states: Mapping[str, TokenState],
    chunk_bytes: int = CHUNK_BYTES,
) -> Iterator[tuple[Sequence[str], Float[Tensor, "samples widths"]]]:
    """Names of points and their patch tokens side by side in float64, in the order of ``states``, a few points at a time.

    Rows are (clip, view, position) as in ``patches.flatten(0, 3)``. ValueError where tokens and patches do not correspond.
    """
    shape = patches.shape[:4]
    # Columns of float64 that fit beside these rows.
    room = chunk_bytes // (8 * shape.numel())
    waiting: list[str] = []
    for name, state in states.items():
        if state.patch_tokens.shape[:4] != shape:
            raise ValueError(
                f"stitch point {name}: {tuple(state.patch_tokens.shape[1:4])} tokens (views, rows, columns), "
                f"but the stitch layer gives {tuple(shape[1:])}"
            )
        if waiting and sum(states[n].patch_tokens.shape[-1] for n in [*waiting, name]) > room:
            yield waiting, _side_by_side([states[n].patch_tokens for n in waiting])
            waiting = []
        waiting.append(name)
    if waiting:
        yield waiting, _side_by_side([states[n].patch_tokens for n in waiting])


def _side_by_side(tokens: Sequence[Tensor]) -> Tensor:
    widths = [t.shape[-1] for t in tokens]
    joined = torch.empty(*tokens[0].shape[:4], sum(widths), dtype=torch.float64, device=tokens[0].device)
    # Copied straight into place: converting each point first would need a second copy.
    for place, source in zip(joined.split(widths, dim=-1), tokens, strict=True):
        place.copy_(source)
    return joined.flatten(0, 3)

"""How a video stands as a film of one place: does it re-render, does its camera move, does its light flicker?

All three are read by a 3D network from decoded frames, so a generator is judged by a network that it was not aligned with. They
belong together: a standing camera re-renders well by itself, so a gain in re-rendering counts only at equal motion.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.networks.base import ReconstructionModel
from vist3a.records import Cameras, Reconstruction
from vist3a.rendering.base import Renderer

FLICKER_FRAMES = 3
"""Fewest frames that can flicker."""


@dataclass(frozen=True)
class FilmFigures:
    """Figures of a batch of videos, one number each.

    ``rerender`` (dB): renderings of a network's own Gaussians at its own cameras against the frames it was given; None: it has no
    Gaussians. ``motion``: see :func:`motion`. ``flicker``: see :func:`flicker`; None: fewer than three frames.
    """

    rerender: Float[Tensor, " batch"] | None
    motion: Float[Tensor, " batch"]
    flicker: Float[Tensor, " batch"] | None


def motion(cameras: Cameras, depth: Float[Tensor, "batch views height width"]) -> Float[Tensor, " batch"]:
    """Length of the camera's path over the median depth: 0 for a standing camera; no unit.

    Example:
        >>> motion(scene.cameras, scene.depth)  # doctest: +SKIP
        tensor([0.31])
    """
    path = cameras.centers.diff(dim=1).norm(dim=-1).sum(1)
    return path / depth.flatten(1).median(dim=1).values


def flicker(frames: Float[Tensor, "batch views 3 height width"]) -> Float[Tensor, " batch"]:
    """Root mean square of the second difference of the frames' mean color over time, in units of brightness.

    A color that changes steadily along a path (second difference 0) is no flicker. Needs three frames: ValueError.
    """
    if frames.shape[1] < FLICKER_FRAMES:
        raise ValueError(f"flicker needs at least {FLICKER_FRAMES} frames, found {frames.shape[1]}")
    return frames.mean((-2, -1)).diff(n=2, dim=1).square().mean((1, 2)).sqrt()


class Flicker:
    """Metric ``flicker`` of the registry: :func:`flicker` of the frames, whatever the scene; NaN of fewer than three."""

    more_is_better = False

    def __call__(
        self, scene: Reconstruction, frames: Float[Tensor, "batch views 3 height width"]
    ) -> Float[Tensor, " batch"]:
        """One number per sample."""
        return flicker(frames) if frames.shape[1] >= FLICKER_FRAMES else frames.new_full((len(frames),), torch.nan)


@torch.no_grad()
def film_figures(
    network: ReconstructionModel, render: Renderer, frames: Float[Tensor, "batch views 3 height width"]
) -> FilmFigures:
    """Figures of videos in [0, 1] by a 3D network; those that it cannot give are None."""
    frames = network.fit(frames)
    scene = network.reconstruct(frames)
    rerender = None
    if scene.gaussians is not None:
        rendered = render(scene.gaussians, scene.cameras, (frames.shape[-2], frames.shape[-1])).rgb.clamp(0, 1)
        # The mean over all pixels of a video, then dB: one spoiled view cannot hide among good ones.
        error = (rendered - frames).square().mean((1, 2, 3, 4)).clamp(min=1e-10)
        rerender = -10 * torch.log10(error)
    long = frames.shape[1] >= FLICKER_FRAMES
    return FilmFigures(rerender, motion(scene.cameras, scene.depth), flicker(frames) if long else None)


@torch.no_grad()
def film_motion(
    network: ReconstructionModel, frames: Float[Tensor, "batch views 3 height width"]
) -> Float[Tensor, " batch"]:
    """:func:`motion` of videos in [0, 1], by a 3D network; nothing is rendered."""
    scene = network.reconstruct(network.fit(frames), with_gaussians=False)
    return motion(scene.cameras, scene.depth)


def film_rows(
    network: ReconstructionModel, render: Renderer, films: Iterable[Float[Tensor, "views 3 height width"]]
) -> dict[str, list[float]]:
    """:func:`film_figures` by name, one value per film, looked at one at a time; what the network cannot give has no name.

    Example:
        >>> film_rows(network, render, [clip.frames for clip in clips])  # doctest: +SKIP
        {'rerender': [27.1, 25.8], 'motion': [0.31, 0.22], 'flicker': [0.001, 0.002]}
    """
    rows: dict[str, list[float]] = {}
    for film in films:
        for name, value in vars(film_figures(network, render, film[None])).items():
            if value is not None:
                rows.setdefault(name, []).append(float(value))
    return rows


def diversity(
    films: Sequence[Float[Tensor, "views 3 height width"]], distance: Callable[[Tensor, Tensor], Tensor]
) -> float:
    """Mean distance of all pairs of films of one prompt, frame by frame.

    Args:
        films: Films of the same size from different noise, in [0, 1].
        distance: Of pairs of images [n, 3, height, width], one number per pair, such as LPIPS: the usual measure of how much
            pictures of one condition differ (Zhu et al., 2017).

    Raises:
        ValueError: There are fewer than two films.
    """
    if len(films) < 2:
        raise ValueError(f"diversity needs at least two films of a prompt, found {len(films)}")
    with torch.no_grad():
        pairs = [distance(one, other).mean() for one, other in combinations(films, 2)]
    return float(torch.stack(pairs).mean())

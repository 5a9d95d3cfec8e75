"""Does a 3D network fit a video generator, and where? The paper's one idea as one call (VIST3A section 3.1).

For every block of the 3D network the best linear map from video latents to the block's tokens is solved in closed form; the block
whose tokens are explained best on scenes that no map has seen is where the generator is joined.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from vist3a.data.clip_batches import LoadFrames
from vist3a.data.splits import SPLITS, assign_splits
from vist3a.generators.base import VideoGenerator
from vist3a.networks.base import ReconstructionModel
from vist3a.records import Clip, LayerScore, StitchFit
from vist3a.stitching.decoder import StitchedDecoder
from vist3a.stitching.extract import ClipsDone, TapConfig, accumulate, tap_settings
from vist3a.stitching.heldout import Candidate, HeldOut, measure
from vist3a.stitching.moments import Moments
from vist3a.stitching.ridge import Bias, r_squared
from vist3a.stitching.search import Solved, check_choice, choose, score_points, solve_points
from vist3a.stitching.tap import Tap, TapSettings

RIDGES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Relative to the mean diagonal of the gram matrix."""
SELECTION, HELDOUT = 0.1, 0.2
"""Shares of clips that come without splits: to choose the ridge on, and held out."""
NOISE_SHARES = (0.0, 0.13, 0.26, 0.51, 1.0)
"""Levels of noise that are reported: shares of the latents' root mean square."""
Splits = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class LayerSearch:
    """Scores and stitch layers of all points, in network order, and the one that is chosen."""

    settings: TapSettings
    scores: tuple[LayerScore, ...]
    solved: Mapping[str, Solved]
    heldout: HeldOut
    noise: float = 0.0
    """Share of the latents' root mean square that the layers are fitted for."""

    @property
    def best(self) -> LayerScore:
        """The point with the highest held-out R^2, under the noise of the fit, among those that are a complete entry."""
        return self.choose()[0]

    def choose(self, point: str | None = None) -> tuple[LayerScore, str]:
        """The score of ``point`` (None: of the best complete entry), and the reason in words."""
        return choose(self.scores, point)

    def layer(self, point: str | None = None) -> StitchFit:
        """The stitch layer of ``point`` (None: of the best complete entry)."""
        return self.solved[self.choose(point)[0].point].layer

    def decoder(self, network: ReconstructionModel, point: str | None = None) -> StitchedDecoder:
        """The 3D network entered at ``point`` (None: at the best) through its stitch layer; nothing is trained."""
        return StitchedDecoder(network, self.settings.spec, self.layer(point)).to(next(network.parameters()).device)

    def under_noise(self, shares: Sequence[float] = NOISE_SHARES) -> dict[float, dict[str, float]]:
        """Held-out R^2 of every point by the share of noise on the latents, of the layers as they were fitted.

        From the moments of the held-out clips: no further pass, and no noise is drawn.

        Example:
            >>> found.under_noise((0.0, 0.26))[0.26]["encoder.00"]
        """
        return {
            share: {
                name: r_squared(self.heldout.moments.noisy(share), name, own.candidate.solution, own.candidate.mean)
                for name, own in self.solved.items()
            }
            for share in shares
        }

    def table(self) -> pd.DataFrame:
        """One row per point: R^2 on held-out scenes with its interval over scenes, CKA, ridge, complete or not."""
        return pd.DataFrame([asdict(score) for score in self.scores])


def find_layer(
    generator: VideoGenerator,
    network: ReconstructionModel,
    clips: Sequence[Clip] | Mapping[str, Sequence[Clip]],
    *,
    kinds: Sequence[str] | None = None,
    ridges: Sequence[float] = RIDGES,
    bias: Bias = "channel",
    noise: float = 0.0,
    batch: int = 4,
    seed: int = 0,
    **tap: Any,
) -> LayerSearch:
    """Where ``network`` is best entered from the latents of ``generator``, and how well it fits there.

    Args:
        generator: A video generator with its autoencoder.
        network: A 3D network on the same device.
        clips: Clips of static scenes, one per scene; by split (``fit``, ``selection``, ``heldout``), or as one sequence, of which
            a tenth chooses the ridge and two are held out, by their names and ``seed``.
        kinds: Groups of stitch points to try, as ``("encoder",)``; None: all.
        ridges: Candidates for the ridge, relative to the mean diagonal of the gram matrix.
        bias: One per channel (a Conv3d), or one per token position.
        noise: The layers are the best ones for latents with independent noise of this share of their root mean square.
        batch: Clips that go through the networks together.
        seed: Draws the splits, where none are given, and the bootstrap over scenes.
        tap: Fields of :class:`vist3a.stitching.extract.TapConfig`: ``kernel``, ``stride``, ``padding``, ``latents``, ...

    Raises:
        ValueError: A split is empty, no point is left to tap, or none of them is a complete entry.

    Example:
        >>> found = find_layer(generator, network, clips, kinds=("encoder",))
        >>> print(found.best.point, found.best.r2_heldout)
        >>> decoder = found.decoder(network)
    """
    by_split = clips if isinstance(clips, Mapping) else _in_splits(clips, seed)
    frames = {clip.name: clip.frames for part in by_split.values() for clip in part}
    splits = {split: [clip.name for clip in part] for split, part in by_split.items()}
    if len(frames) < sum(map(len, splits.values())):
        raise ValueError("clips: two of them have the same name; allowed: a name of its own for every clip")

    def load(name: str) -> Tensor:
        # Bytes, as clips that are read from a store.
        return (frames[name] * 255).round().to(torch.uint8)

    config = TapConfig(**{"seed": seed, **tap})
    return search_clips(
        generator,
        network,
        splits,
        load,
        config,
        kinds=kinds,
        ridges=ridges,
        bias=bias,
        noise=noise,
        batch=batch,
        seed=seed,
    )


def search_clips(
    generator: VideoGenerator,
    network: ReconstructionModel,
    splits: Splits,
    load: LoadFrames,
    tap: TapConfig | None = None,
    *,
    kinds: Sequence[str] | None = None,
    points: Sequence[str] | None = None,
    ridges: Sequence[float] = RIDGES,
    bias: Bias = "channel",
    noise: float = 0.0,
    batch: int = 4,
    seed: int = 0,
) -> LayerSearch:
    """As :func:`find_layer`, for clips that ``load`` reads by name (uint8 [views, 3, height, width]) when they are met.

    ``points`` tries just the points of these names, of whatever kind.
    """
    missing = [split for split in SPLITS if not splits.get(split)]
    if missing:
        raise ValueError(
            f"clips: the split {missing[0]} is empty; allowed: one clip at least in fit, selection and heldout"
        )
    height, width = load(splits["fit"][0]).shape[-2:]
    chosen = network.points_of(kinds, "kinds") if points is None else [network.stitch_point(name) for name in points]
    settings = tap_settings(generator, network, chosen, (height, width), tap)
    # Points that were asked for by name may be incomplete: they are compared, not entered.
    if points is None:
        check_choice(settings.points)
    tapped = Tap(generator, network, settings)
    fit, selection = (accumulate(tapped, splits[split], load, batch=batch) for split in ("fit", "selection"))
    return search_moments(
        tapped, fit, selection, splits["heldout"], load, ridges=ridges, bias=bias, noise=noise, batch=batch, seed=seed
    )


def search_moments(
    tap: Tap,
    fit: Moments,
    selection: Moments,
    heldout: Sequence[str],
    load: LoadFrames,
    *,
    ridges: Sequence[float],
    bias: Bias,
    noise: float = 0.0,
    batch: int,
    seed: int,
    done: ClipsDone = lambda _: None,
) -> LayerSearch:
    """The search from moments of clean latents that were accumulated before; the ``heldout`` clips are met now, once."""
    # The ridge, too, is chosen under the noise: what is best on clean latents amplifies what is off their manifold.
    solved = solve_points(fit.noisy(noise), selection.noisy(noise), tap.settings, ridges, bias, tap.latent_statistics)
    seen = measure(tap, candidates(solved), heldout, load, batch=batch, done=done)
    return LayerSearch(tap.settings, score_points(solved, seen, tap.settings, seed, noise), solved, seen, noise)


def candidates(solved: Mapping[str, Solved]) -> dict[str, Candidate]:
    """What held-out clips judge."""
    return {name: found.candidate for name, found in solved.items()}


def _in_splits(clips: Sequence[Clip], seed: int) -> dict[str, Sequence[Clip]]:
    named = assign_splits([clip.name for clip in clips], seed, SELECTION, HELDOUT)
    return {split: [clip for clip in clips if named[clip.name] == split] for split in SPLITS}

"""Self-distillation of a stitched decoder on the original network (VIST3A 3.1): first its tokens, then its outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vist3a.distillation.match_outputs import MatchOutputsConfig, match_outputs
from vist3a.distillation.match_tokens import MatchTokensConfig, match_tokens
from vist3a.generators.base import VideoGenerator
from vist3a.networks.base import ReconstructionModel
from vist3a.records import Clip
from vist3a.runtime.step_log import Log
from vist3a.stitching.decoder import StitchedDecoder


@dataclass(frozen=True, kw_only=True)
class DistillSettings(MatchOutputsConfig):
    """Both rounds; what is not said of ``match`` belongs to the second one, on outputs.

    Attributes:
        seed: Draws clips, views and changes of clips, by step.
        match: The first round, on tokens; None: it is left out.
    """

    seed: int
    match: MatchTokensConfig | None = None


def distill(
    student: StitchedDecoder,
    teacher: ReconstructionModel,
    generator: VideoGenerator,
    clips: Sequence[Clip],
    settings: DistillSettings,
    *,
    folder: Path | None = None,
    logs: Callable[[str], Log] | None = None,
) -> None:
    """Train the parameters of ``student`` that require gradients, in place, towards what ``teacher`` makes of the true frames.

    Args:
        student: A stitched decoder whose parameters were chosen (:func:`vist3a.stitching.tuning.prepare`).
        teacher: The 3D network as it was, on the same device; it stays as it is, but both networks stop fusing Gaussians in the
            second round.
        generator: A video generator with its autoencoder, which stays as it is.
        clips: Clips to learn from, frames [views, 3, height, width] in [0, 1].
        settings: The two rounds.
        folder: Where unfinished training is kept; a run that finds some there continues it, to the same result. None: nowhere.
        logs: Gives the log of a round by its name, ``match`` or ``distill``; :func:`vist3a.runtime.step_log.step_log` is one.

    Raises:
        ValueError: There is no clip, or the points of the first round do not lie behind the stitch point.

    Example:
        >>> prepare(decoder, "full", 0, 0.0)
        >>> outputs = LoopConfig(steps=2000, learning_rate=2e-4)
        >>> distill(decoder, network, generator, clips, DistillSettings(seed=0, batch=2, views=(9, 13), loop=outputs))
    """
    if not clips:
        raise ValueError("distillation needs at least one clip in the fit split")
    # Tokens first: most of the way at a fraction of the cost of whole networks.
    if settings.match is not None:
        match_tokens(
            student,
            teacher,
            generator,
            clips,
            settings.match,
            seed=settings.seed,
            checkpoint=folder and folder / "match.pt",
            log=logs and logs("match"),
        )
    match_outputs(
        student,
        teacher,
        generator,
        clips,
        settings,
        seed=settings.seed,
        checkpoint=folder and folder / "loop.pt",
        log=logs and logs("distill"),
    )

"""What a shortening is asked to do."""

from __future__ import annotations

from dataclasses import dataclass

from vist3a.records.clip_shape import ClipShape
from vist3a.runtime.bounds import Fraction, Guidance, Positive, PositiveFloat
from vist3a.runtime.loop import LoopConfig


@dataclass(frozen=True, kw_only=True)
class ShortenSettings(ClipShape):
    """Paths of the original generator, how often they are used, and the training.

    Attributes:
        seed: Draws the noise of paths and the jumps on them.
        counts: Numbers of steps that the generator is to sample in.
        path_steps: Steps of the original generator's paths, a multiple of every count.
        guidance: Guidance of the paths, which the shortened generator then has inside.
        flow_shift: Time shift of the paths and of the shortened generator; None: the generator's own.
        paths: Paths that a step learns from, one jump of each; of several processes each takes its share.
        on_policy: Share of the paths that the generator being shortened begins, so that it learns to go on from its own states.
            Where no count has a second step, none is.
        uses: Steps that learn from the same paths before new ones are made.
        paths_at_once: Of the paths so many are made, and learned from, at a time; None: all. Less memory, more time.
        loop: The training.

    Raises:
        ValueError: A count does not divide ``path_steps``; or a checkpoint would fall between two blocks of ``uses`` steps, whose
            paths begin with what the generator was then.

    Example:
        >>> ShortenSettings(
        ...     seed=0, frames=13, height=64, width=64, guidance=4.0, paths=256, uses=16,
        ...     loop=LoopConfig(steps=2000, learning_rate=1e-3),
        ... )
    """

    seed: int
    counts: tuple[Positive, ...] = (1, 2, 4, 8)
    path_steps: Positive = 24
    guidance: Guidance
    flow_shift: PositiveFloat | None = None
    paths: Positive
    on_policy: Fraction = 0.5
    uses: Positive = 1
    paths_at_once: Positive | None = None
    loop: LoopConfig

    def __post_init__(self) -> None:
        if not self.counts or any(self.path_steps % count for count in self.counts):
            raise ValueError(
                f"shorten.counts: {list(self.counts)}, but a path has shorten.path_steps {self.path_steps}; allowed: numbers of "
                "steps that divide it"
            )
        if self.on_policy and self.loop.checkpoint_every % self.uses:
            raise ValueError(
                f"shorten.loop.checkpoint_every: {self.loop.checkpoint_every}, in the middle of shorten.uses {self.uses} steps "
                "that share paths; allowed: a multiple of it, so that a run that goes on makes the same paths"
            )

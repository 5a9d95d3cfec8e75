"""Looks at films while a generator is aligned, and the adapter that kept the motion.

Rewards of consistency are best for a camera that stands still, so an alignment may end with a generator whose camera does. At
every look a 3D network that nothing is aligned with measures motion, which is held against that of curated clips; where the last
adapter does not reach it, an earlier one is returned.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vist3a.runtime.checkpoint import load_checkpoint, save_checkpoint
from vist3a.runtime.launch import ALONE, Processes
from vist3a.runtime.processes import sum_over

logger = logging.getLogger(__name__)

MOTION = "motion"


@dataclass(frozen=True)
class MotionBar:
    """The motion that films must have: ``share`` of that of curated ``clips``, in median depths of the scene."""

    share: float
    clips: float

    @property
    def least(self) -> float:
        """The bar itself."""
        return self.share * self.clips

    def __str__(self) -> str:
        return f"{self.least:.3g} ({self.share:.3g} of the {self.clips:.3g} of curated clips)"


class FilmLooks:
    """Figures of films by step, and the adapter of the last step that kept the bar.

    Everything is kept in one file, so that a resumed run knows the figures and has the adapter to which they belong.

    Args:
        measure: Figures of sampled latents, means over the films; ``motion`` is one of them.
        clips_motion: Motion of curated clips by the same network; asked once, at the first look.
        share: Part of it that the bar is.
        every: Steps between two looks.
        last: Step after the last one, at which is looked in any case.
        parameters: The adapter, as the generator has it when it is looked at.
        path: The file.
    """

    def __init__(
        self,
        measure: Callable[[Sequence[Tensor]], Mapping[str, float]],
        clips_motion: Callable[[], float],
        share: float,
        every: int,
        last: int,
        parameters: Mapping[str, nn.Parameter],
        path: Path,
    ) -> None:
        self._measure, self._clips_motion = measure, clips_motion
        self.share, self.every, self.last, self.parameters, self.path = share, every, last, parameters, path
        self.rows: dict[int, dict[str, float]] = {}
        self.bar: MotionBar | None = None
        self.kept_step: int | None = None
        self._kept: dict[str, Tensor] = {}
        self._warned = False
        if path.is_file():
            self._read(load_checkpoint(path, torch.device("cpu")))

    def due(self, step: int) -> bool:
        """Whether to look at this step."""
        return step not in self.rows and (step % self.every == 0 or step == self.last)

    def look(self, step: int, latents: Sequence[Tensor]) -> None:
        """Measure, remember the adapter where it is to be kept, warn once when the motion falls under the bar."""
        if self.bar is None:
            self.bar = MotionBar(self.share, self._clips_motion())
        row = dict(self._measure(latents))
        # Where no path could be measured there is no motion that was kept.
        row[MOTION] = row[MOTION] if math.isfinite(row[MOTION]) else 0.0
        self.rows[step] = row
        best = self.kept_step
        # Under the bar more motion is better; on it the later adapter, which is trained longer.
        if self._keeps(step) or best is None or not (self._keeps(best) or row[MOTION] < self.rows[best][MOTION]):
            self.kept_step = step
            self._kept = {name: p.detach().clone() for name, p in self.parameters.items()}
        self._warn(step)
        save_checkpoint(
            self.path,
            {"rows": self.rows, "clips": self.bar.clips, "kept_step": self.kept_step, "kept": self._kept},
        )

    def scalars(self, step: int) -> dict[str, float]:
        """The figures of the last look as ``watch/...``; none before the first."""
        past = [known for known in self.rows if known <= step]
        return {f"watch/{name}": value for name, value in self.rows[max(past)].items()} if past else {}

    @torch.no_grad()
    def settle(self, processes: Processes = ALONE) -> None:
        """Give the generator the kept adapter, in all processes; the first one looked, and says so where it is an earlier one."""
        values = list(self.parameters.values())
        if processes.first:
            for name, parameter in self.parameters.items():
                parameter.copy_(self._kept[name])
            if self.kept_step != self.last or not self._keeps(self.last):
                logger.warning("%s", self.reason())
        else:
            # All but the first add nothing to the sum.
            for parameter in values:
                parameter.zero_()
        sum_over(processes, values)

    def reason(self) -> str:
        """Which adapter is kept, and why."""
        kept, motion = self._chosen()
        last = self.rows[self.last][MOTION]
        if kept == self.last and self._keeps(kept):
            return f"the last adapter keeps the motion: {motion:.3g} of at least {self.bar}"
        if self._keeps(kept):
            return (
                f"the last adapter (step {self.last}) has motion {last:.3g}, under {self.bar}; kept is that of step {kept}, the "
                f"last that was looked at and keeps it, with {motion:.3g}"
            )
        return (
            f"no adapter that was looked at keeps the motion, at least {self.bar}; kept is that of step {kept}, with the most: "
            f"{motion:.3g}"
        )

    def report(self) -> dict[str, Any]:
        """For a report: the step that is kept and why, its motion, that of the last step and of curated clips, and the bar."""
        kept, motion = self._chosen()
        assert self.bar is not None
        return {
            "kept_step": kept,
            "kept_because": self.reason(),
            "motion": {
                "kept": motion,
                "last": self.rows[self.last][MOTION],
                "clips": self.bar.clips,
                "bar": self.bar.least,
                "by_step": {str(step): self.rows[step][MOTION] for step in sorted(self.rows)},
            },
        }

    def _chosen(self) -> tuple[int, float]:
        if self.kept_step is None or self.last not in self.rows:
            raise ValueError("no adapter is chosen before the last look")
        return self.kept_step, self.rows[self.kept_step][MOTION]

    def _keeps(self, step: int) -> bool:
        assert self.bar is not None
        return self.rows[step][MOTION] >= self.bar.least

    def _warn(self, step: int) -> None:
        under, motion = not self._keeps(step), self.rows[step][MOTION]
        if under and step == 0:
            logger.warning("before it is aligned, the motion of the watched films is %.3g, under %s", motion, self.bar)
        # The last look is told by settle, with what follows from it.
        elif under and not self._warned and step != self.last:
            logger.warning(
                "at step %d the motion of the watched films is %.3g, under %s: rewards of consistency are best for a camera "
                "that stands still; more weight on camera_motion or align.generative_weight holds it",
                step, motion, self.bar,
            )  # fmt: skip
        self._warned = under

    def _read(self, state: Mapping[str, Any]) -> None:
        self.rows, self.kept_step = dict(state["rows"]), state["kept_step"]
        self.bar = MotionBar(self.share, state["clips"])
        self._kept = {name: value.to(self.parameters[name].device) for name, value in state["kept"].items()}

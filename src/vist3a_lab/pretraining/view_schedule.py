"""What the training of the reconstruction network sees when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Gt

from vist3a.runtime.bounds import NotNegative, Positive

Several = Annotated[int, Gt(1)]


@dataclass(frozen=True)
class ViewSchedule:
    """Few views of many scenes first, whole clips later; the ``*_from`` are fractions of the run.

    Attributes:
        few_batch: Scenes per step with few views.
        few_views: Views of each.
        max_stride: Largest step between them.
        full_batch: Whole clips per step.
        full_views: Views of a whole clip.
        full_from: From here on whole clips are seen, with every fourth step still few views.
        render_from: From here on whole clips are rendered.
        own_poses_from: From here on two of three rendered steps unproject with the predicted cameras.
        rendered_views: Views of a clip that are rendered.
    """

    few_batch: Positive = 64
    few_views: Several = 4
    max_stride: Positive = 4
    full_batch: Positive = 24
    full_views: Several = 13
    full_from: NotNegative = 0.45
    render_from: NotNegative = 0.5
    own_poses_from: NotNegative = 0.75
    rendered_views: Several = 3

    def is_full(self, step: int, steps: int) -> bool:
        """Whether this step sees whole clips."""
        return step >= self.full_from * steps and step % 4 != 3

    def renders(self, step: int, steps: int) -> bool:
        """Whether this step has a rendering loss."""
        return self.is_full(step, steps) and step >= self.render_from * steps

    def own_poses(self, step: int, steps: int) -> bool:
        """Whether a rendered step places its Gaussians with the predicted cameras."""
        return step >= self.own_poses_from * steps and step % 4 != 1

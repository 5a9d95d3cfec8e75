"""What a metric is, and of which figures more is better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from vist3a import registry
from vist3a.records import Reconstruction

PREFIX = "metric/"
"""Before the names of metrics in reports."""
MORE_IS_BETTER = frozenset(
    {
        "depth_delta_125", "normals", "f_score", "rra_5", "rta_5", "auc_30", "nvs_psnr", "nvs_ssim", "consistency_psnr",
        "reprojection/covered", "film/rerender", "film/motion", "diversity",
    }
)  # fmt: skip
SCORES = ("accuracy/", "judge/", "reward/", "sharpness/")


@runtime_checkable
class Metric(Protocol):
    """A figure of a reconstruction, one per sample; under which name it is registered, so it is reported."""

    more_is_better: bool

    def __call__(
        self, scene: Reconstruction, frames: Float[Tensor, "batch views 3 height width"]
    ) -> Float[Tensor, " batch"]:
        """Of 3D and the frames (RGB in [0, 1]) that show the same views."""
        ...


def load_metrics(names: Sequence[str], where: str) -> dict[str, Metric]:
    """Metrics by their names in reports; ``where`` is the parameter that named them.

    Raises:
        ValueError: A name is not registered, or what it names is no metric.
    """
    return {PREFIX + name: _metric(name, where) for name in names}


def measured(
    metrics: Mapping[str, Metric], scene: Reconstruction, frames: Float[Tensor, "batch views 3 height width"]
) -> dict[str, Float[Tensor, " batch"]]:
    """What every metric says of a scene; ValueError for one that does not say one number per sample."""
    found = {name: metric(scene, frames) for name, metric in metrics.items()}
    for name, values in found.items():
        if tuple(values.shape) != (len(frames),):
            raise ValueError(f"{name} gave {tuple(values.shape)}; allowed: one number per sample, ({len(frames)},)")
    return found


def more_is_better(figure: str) -> bool:
    """Whether more of a figure is better; of all that are neither scores, nor named here, nor say it themselves less is."""
    if figure.startswith(PREFIX):
        return _metric(figure.removeprefix(PREFIX), figure).more_is_better
    return figure in MORE_IS_BETTER or figure.startswith(SCORES)


def _metric(name: str, where: str) -> Metric:
    made: object = registry.find("metrics", name, where)()
    if not isinstance(made, Metric) or not isinstance(made.more_is_better, bool):
        raise ValueError(
            f"{where}: {name}: a metric says more_is_better (true or false) and is called with scene and frames"
        )
    return made

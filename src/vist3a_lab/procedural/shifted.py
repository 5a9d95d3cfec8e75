"""Static scenes as the 3D network has not seen them: other lenses, longer paths, changing exposure, noisy pixels.

Each effect keeps one geometry, so that cameras and depth stay exact. Scene i of a seed is that of the plain world, seen in
another way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.runtime.loop import step_generator
from vist3a_lab.procedural.layout import CAMERA_REACH
from vist3a_lab.procedural.scene import CameraPath
from vist3a_lab.procedural.unsteady import Effect, UnsteadyConfig, sample_unsteadiness
from vist3a_lab.procedural.world import WorldBatch, WorldConfig, make_world

NOISE_STREAM = 911
"""Keeps the noise of pixels apart from all else that is drawn for a scene."""


@dataclass(frozen=True)
class Shift:
    """How clips differ from those that the 3D network was trained on.

    Attributes:
        lens: Field of view (its angle), times that of the plain world; the camera stays where it was.
        path: Length of the camera's path, times that of the plain world; the middle of the path stays where it was.
        exposure: Largest standard deviation of a frame's log brightness; colors change half as much by themselves.
        pixel_noise: Standard deviation of independent noise on pixels in [0, 1].

    Raises:
        ValueError: A factor is not positive, or a strength is negative.

    Example:
        >>> make_shifted(WorldConfig(seed=3), [0, 1], Shift(lens=1.4))[0].rgb.shape
        torch.Size([2, 13, 3, 64, 64])
    """

    lens: float = 1.0
    path: float = 1.0
    exposure: float = 0.0
    pixel_noise: float = 0.0

    def __post_init__(self) -> None:
        for name in ("lens", "path"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, found {getattr(self, name)}.")
        for name in ("exposure", "pixel_noise"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, found {getattr(self, name)}.")

    def camera_path(self, path: CameraPath) -> CameraPath:
        """The path through another lens, longer or shorter about its middle."""
        longer = self.path
        before = (1 - longer) / 2
        end, truck = longer * path.dolly_end, longer * path.truck
        # A longer path must not lead through the wall of a room.
        nearest = CAMERA_REACH / (1 + end.abs() + 0.5 * truck.abs())
        return replace(
            path,
            fov=self.lens * path.fov,
            azimuth=path.azimuth + before * path.sweep,
            sweep=longer * path.sweep,
            elevation=path.elevation + before * path.lift,
            lift=longer * path.lift,
            dolly_start=longer * path.dolly_start,
            dolly_end=end,
            truck=truck,
            radius=torch.minimum(path.radius, nearest) if longer > 1 else path.radius,
        )

    def photograph(
        self, rgb: Float[Tensor, "batch views 3 height width"], seed: int, indices: Sequence[int]
    ) -> Float[Tensor, "batch views 3 height width"]:
        """The pictures as the camera records them: exposed from frame to frame, then noisy; in [0, 1]."""
        if self.exposure:
            steady = Effect(0.0, 0.0)
            lit = UnsteadyConfig(
                speed=(1.0, 1.0), drift=steady, spin=steady, morph=steady, shake=steady, blur=steady, warp=steady, cut=steady,
                exposure=Effect(1.0, self.exposure), tint=Effect(1.0, self.exposure / 2),
            )  # fmt: skip
            gain = sample_unsteadiness(seed, indices, rgb.shape[1], lit).gain
            rgb = rgb * gain[..., None, None].to(rgb)
        if self.pixel_noise:
            # Drawn on the CPU, scene by scene, so that a seed means the same noise in every batch and on every device.
            noise = torch.stack(
                [torch.randn(rgb.shape[1:], generator=step_generator(seed + NOISE_STREAM, index)) for index in indices]
            )
            rgb = rgb + self.pixel_noise * noise.to(rgb)
        return rgb.clamp(0, 1)


SHIFTS: Mapping[str, Shift] = MappingProxyType(
    {
        "wide_lens": Shift(lens=1.4),
        "narrow_lens": Shift(lens=0.7),
        "long_path": Shift(path=2.0),
        "exposure": Shift(exposure=0.25),
        "pixel_noise": Shift(pixel_noise=0.04),
    }
)
"""Worlds on which the claims hold the stitched network against the original."""


def make_shifted(
    config: WorldConfig,
    indices: Sequence[int],
    shift: Shift,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> tuple[WorldBatch, Float[Tensor, "batch views 3 height width"]]:
    """Scenes ``indices`` of a shifted world with their truth, and the pictures that a network is given of them.

    The pictures of the truth have neither changing exposure nor noise.
    """
    batch = make_world(config, indices, device=device, dtype=dtype, path=shift.camera_path)
    return batch, shift.photograph(batch.rgb, config.seed, indices)

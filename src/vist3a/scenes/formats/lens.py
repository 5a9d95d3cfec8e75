"""Lenses of data sets: pinhole intrinsics for a stated picture size, and distortion that is taken out of the pictures."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.geometry.projection import pixel_grid
from vist3a.scenes.rejected import RejectedError
from vist3a.scenes.resizing import crop_box

BROWN = "brown"
"""Distortion (k1, k2, p1, p2, k3, k4, k5, k6) of OpenCV; COLMAP's SIMPLE_RADIAL, RADIAL, OPENCV and FULL_OPENCV."""
FISHEYE = "fisheye"
"""Equidistant distortion (k1, k2, k3, k4) of OpenCV; COLMAP's OPENCV_FISHEYE and its radial relatives."""
ASPECT_TOLERANCE = 0.01


@dataclass(frozen=True)
class Lens:
    """Intrinsics in pixels of a picture of ``width`` x ``height`` (first pixel centre 0.5, 0.5); 1 x 1 for normalised ones.

    ``distortion`` follows ``model``; all zero for a pinhole.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    model: str = BROWN
    distortion: tuple[float, ...] = ()

    def for_size(self, height: int, width: int) -> Lens:
        """The same lens for a picture of another resolution (data sets ship reduced pictures with the full-size intrinsics).

        Raises:
            RejectedError: The picture has another shape than the lens is stated for.
        """
        across, down = width / self.width, height / self.height
        if (self.width, self.height) != (1, 1) and abs(across / down - 1) > ASPECT_TOLERANCE:
            stated = f"{self.width}x{self.height}"
            raise RejectedError(
                f"a picture of {width}x{height} pixels has intrinsics for {stated}; one shape is needed"
            )
        return replace(
            self, width=width, height=height,
            fx=self.fx * across, cx=self.cx * across, fy=self.fy * down, cy=self.cy * down,
        )  # fmt: skip

    def fitted(self, height: int, width: int) -> Float[Tensor, "3 3"]:
        """Intrinsics after the centre crop and resize of ``resizing.fit``."""
        top, left, rows, columns = crop_box((self.height, self.width), (height, width))
        across, down = width / columns, height / rows
        return torch.tensor(
            [
                [self.fx * across, 0, (self.cx - left) * across],
                [0, self.fy * down, (self.cy - top) * down],
                [0, 0, 1],
            ],
            dtype=torch.float64,
        )

    def undistort(self, picture: Tensor) -> Tensor:
        """The picture [3, height, width] (uint8) that a pinhole with the same intrinsics takes; the border is continued where
        it sees beyond the picture. This lens must be that of the picture's size.
        """
        if not any(self.distortion):
            return picture
        height, width = picture.shape[-2:]
        focal = torch.tensor([self.fx, self.fy], dtype=torch.float64)
        centre = torch.tensor([self.cx, self.cy], dtype=torch.float64)
        rays = (pixel_grid(height, width, dtype=torch.float64) - centre) / focal
        place = self.distorted(rays) * focal + centre
        sample = (place / torch.tensor([width, height]) * 2 - 1).float()
        seen = torch.nn.functional.grid_sample(
            picture[None].float(), sample[None], mode="bilinear", padding_mode="border", align_corners=False
        )[0]
        return seen.round().clamp(0, 255).to(torch.uint8)

    def distorted(self, rays: Float[Tensor, "*points 2"]) -> Float[Tensor, "*points 2"]:
        """Where points on the plane z = 1 appear (OpenCV's formulas)."""
        k = [*self.distortion, *[0.0] * (8 - len(self.distortion))]
        x, y = rays.unbind(-1)
        square = x * x + y * y
        if self.model == FISHEYE:
            radius = square.sqrt().clamp(min=1e-12)
            angle = radius.atan()
            a2 = angle * angle
            factor = angle * (1 + a2 * (k[0] + a2 * (k[1] + a2 * (k[2] + a2 * k[3])))) / radius
            return rays * factor[..., None]
        radial = (1 + square * (k[0] + square * (k[1] + square * k[4]))) / (
            1 + square * (k[5] + square * (k[6] + square * k[7]))
        )
        return torch.stack(
            [
                x * radial + 2 * k[2] * x * y + k[3] * (square + 2 * x * x),
                y * radial + k[2] * (square + 2 * y * y) + 2 * k[3] * x * y,
            ],
            dim=-1,
        )


COLMAP_MODELS: dict[str, tuple[int, int, str]] = {
    "SIMPLE_PINHOLE": (1, 0, BROWN),
    "PINHOLE": (2, 0, BROWN),
    "SIMPLE_RADIAL": (1, 1, BROWN),
    "RADIAL": (1, 2, BROWN),
    "OPENCV": (2, 4, BROWN),
    "OPENCV_FISHEYE": (2, 4, FISHEYE),
    "FULL_OPENCV": (2, 8, BROWN),
    "SIMPLE_RADIAL_FISHEYE": (1, 1, FISHEYE),
    "RADIAL_FISHEYE": (1, 2, FISHEYE),
}
"""Focal lengths, distortion numbers and kind of the camera models that are read, by COLMAP's names."""


def colmap_lens(model: str, width: int, height: int, parameters: list[float]) -> Lens:
    """Lens of a COLMAP camera: f (or fx, fy), cx, cy, then the distortion.

    Raises:
        RejectedError: A model that is not read, or another number of parameters.
    """
    if model not in COLMAP_MODELS:
        raise RejectedError(
            f"camera model {model}; allowed are {', '.join(COLMAP_MODELS)}: undistort the pictures first"
        )
    focals, extra, kind = COLMAP_MODELS[model]
    if len(parameters) != focals + 2 + extra:
        raise RejectedError(f"camera model {model} has {len(parameters)} parameters; {focals + 2 + extra} are needed")
    fx, fy = parameters[0], parameters[focals - 1]
    cx, cy, *distortion = parameters[focals:]
    return Lens(width, height, fx, fy, cx, cy, kind, tuple(distortion))

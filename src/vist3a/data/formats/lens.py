"""Lenses of data sets: pinhole intrinsics for a stated picture size, and distortion that is taken out of the pictures."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.data.formats.text import shown
from vist3a.data.rejected import RejectedError
from vist3a.data.resizing import crop_box
from vist3a.geometry.projection import pixel_grid

BROWN = "brown"
"""Distortion (k1, k2, p1, p2, k3, k4, k5, k6) of OpenCV; COLMAP's SIMPLE_RADIAL, RADIAL, OPENCV and FULL_OPENCV."""
FISHEYE = "fisheye"
"""Equidistant distortion (k1, k2, k3, k4) of OpenCV; COLMAP's OPENCV_FISHEYE, its radial relatives, and FISHEYE without any."""
ASPECT_TOLERANCE = 0.01
FOCAL_RANGE = (0.05, 50.0)
"""Focal lengths that a lens can have, in widths of the picture: a view of 169 degrees to one of one degree."""
RADII = 4096
"""Places between the centre and the corner at which the distortion is looked at."""


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

    @property
    def straight(self) -> bool:
        """Whether it is that of a pinhole camera. A fisheye lens is not, also where all its numbers are zero."""
        return self.model == BROWN and not any(self.distortion)

    def for_size(self, height: int, width: int) -> Lens:
        """The same lens for a picture of another resolution (data sets ship reduced pictures with the full-size intrinsics).

        Raises:
            RejectedError: The picture has another shape than the lens is stated for, or no lens has such numbers.
        """
        if min(self.width, self.height) < 1:
            raise RejectedError(
                f"the intrinsics are for a picture of {self.width}x{self.height} pixels; positive sizes are needed"
            )
        across, down = width / self.width, height / self.height
        if (self.width, self.height) != (1, 1) and abs(across / down - 1) > ASPECT_TOLERANCE:
            stated = f"{self.width}x{self.height}"
            raise RejectedError(
                f"a picture of {width}x{height} pixels has intrinsics for {stated}; one shape is needed"
            )
        sized = replace(
            self, width=width, height=height,
            fx=self.fx * across, cx=self.cx * across, fy=self.fy * down, cy=self.cy * down,
        )  # fmt: skip
        sized._check()
        return sized

    def _check(self) -> None:
        """RejectedError for numbers that are finite in no file that means them, or far from any lens."""
        stated = {"fx": self.fx, "fy": self.fy, "cx": self.cx, "cy": self.cy}
        stated |= {f"distortion {i}": value for i, value in enumerate(self.distortion, 1)}
        for name, value in stated.items():
            if not math.isfinite(value):
                raise RejectedError(f"the intrinsics have {name} = {value}; finite numbers are needed")
        least, most = FOCAL_RANGE
        if not all(least <= focal / self.width <= most for focal in (self.fx, self.fy)):
            allowed = f"{least:g} to {most:g} widths of the picture are allowed"
            raise RejectedError(f"the focal lengths are {self.fx:g} and {self.fy:g} of {self.width} pixels; {allowed}")
        if not (abs(self.cx / self.width - 0.5) <= 1.5 and abs(self.cy / self.height - 0.5) <= 1.5):
            found = f"({self.cx:g}, {self.cy:g}) of {self.width}x{self.height} pixels"
            raise RejectedError(f"the principal point is {found}; at most one picture beside the picture is allowed")
        # A fitted polynomial may go wild in the corners, but not within a quarter of a side of the center.
        middle = min(self.width / self.fx, self.height / self.fy) / 4
        stretched = float(self._radial(torch.tensor(middle * middle, dtype=torch.float64)))
        if self.fold < middle or not 0.05 < stretched < 5:
            raise RejectedError(
                f"the distortion {self.distortion} folds or tears the middle of the picture; that of a lens is needed"
            )

    def fitted(self, height: int, width: int) -> Float[Tensor, "3 3"]:
        """Intrinsics after the centre crop and resize of ``resizing.fit``."""
        top, left, rows, columns = crop_box((self.height, self.width), (height, width))
        across, down = width / columns, height / rows
        # Cropping moves the principal point, resizing scales everything.
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
        if self.straight:
            return picture
        height, width = picture.shape[-2:]
        focal = torch.tensor([self.fx, self.fy], dtype=torch.float64)
        centre = torch.tensor([self.cx, self.cy], dtype=torch.float64)
        rays = (pixel_grid(height, width, dtype=torch.float64) - centre) / focal
        place = self.distorted(rays) * focal + centre
        # grid_sample counts from -1 to 1 between the outer edges of the picture (align_corners=False).
        sample = (place / torch.tensor([width, height]) * 2 - 1).float()
        seen = torch.nn.functional.grid_sample(
            picture[None].float(), sample[None], mode="bilinear", padding_mode="border", align_corners=False
        )[0]
        return seen.round().clamp(0, 255).to(torch.uint8)

    def distorted(self, rays: Float[Tensor, "*points 2"]) -> Float[Tensor, "*points 2"]:
        """Where points on the plane z = 1 appear (OpenCV's formulas; straight on beyond ``fold``, where they turn back)."""
        # Beyond the fold the point at its radius is distorted, and the rest is added straight.
        kept = rays * (self.fold / rays.norm(dim=-1, keepdim=True).clamp(min=1e-12)).clamp(max=1.0)
        x, y = kept.unbind(-1)
        square = x * x + y * y
        place = kept * self._radial(square)[..., None]
        if self.model == BROWN:
            # Padded: a lens may state fewer numbers.
            p1, p2 = (*self.distortion, *[0.0] * 4)[2:4]
            tangential = [
                2 * p1 * x * y + p2 * (square + 2 * x * x),
                p1 * (square + 2 * y * y) + 2 * p2 * x * y,
            ]
            place = place + torch.stack(tangential, dim=-1)
        return place + (rays - kept)

    @cached_property
    def fold(self) -> float:
        """Radius on the plane z = 1 at which the radial distortion turns back inwards; infinite where it is beyond the picture.

        Polynomials that were fitted to the middle of a picture do so outside: what is farther would be seen a second time.
        """
        if self.straight:
            return math.inf
        # As far as the corner that is farthest from the principal point.
        across = max(abs(self.cx), abs(self.width - self.cx)) / self.fx
        down = max(abs(self.cy), abs(self.height - self.cy)) / self.fy
        radii = torch.linspace(0, math.hypot(across, down), RADII, dtype=torch.float64)
        # The radius in the picture must grow with the one on the plane.
        steps = (radii * self._radial(radii * radii)).diff()
        turned = (~(steps > 0)).nonzero()
        return float(radii[turned[0, 0]]) if len(turned) else math.inf

    def _radial(self, square: Float[Tensor, "*points"]) -> Float[Tensor, "*points"]:
        """Distance from the axis in the picture over that on the plane z = 1, whose square is given."""
        k = [*self.distortion, *[0.0] * (8 - len(self.distortion))]
        if self.model == FISHEYE:
            # Fisheye: theta (1 + k1 theta^2 + .. + k4 theta^8) / r with theta = atan(r), by Horner's rule.
            radius = square.sqrt().clamp(min=1e-12)
            angle = radius.atan()
            a2 = angle * angle
            return angle * (1 + a2 * (k[0] + a2 * (k[1] + a2 * (k[2] + a2 * k[3])))) / radius
        # Rational: k1, k2 and k3 above, k4, k5 and k6 below; p1 and p2 stand between them in the list.
        return (1 + square * (k[0] + square * (k[1] + square * k[4]))) / (
            1 + square * (k[5] + square * (k[6] + square * k[7]))
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
    "SIMPLE_FISHEYE": (1, 0, FISHEYE),
    "FISHEYE": (2, 0, FISHEYE),
}
"""Focal lengths, distortion numbers and kind of the camera models that are read, by COLMAP's names."""


def colmap_lens(model: str, width: int, height: int, parameters: list[float]) -> Lens:
    """Lens of a COLMAP camera: f (or fx, fy), cx, cy, then the distortion.

    Raises:
        RejectedError: A model that is not read, or another number of parameters.
    """
    if model not in COLMAP_MODELS:
        raise RejectedError(
            f"camera model {shown(model)}; allowed are {', '.join(COLMAP_MODELS)}: undistort the pictures first"
        )
    focals, extra, kind = COLMAP_MODELS[model]
    if len(parameters) != focals + 2 + extra:
        raise RejectedError(f"camera model {model} has {len(parameters)} parameters; {focals + 2 + extra} are needed")
    fx, fy = parameters[0], parameters[focals - 1]
    cx, cy, *distortion = parameters[focals:]
    return Lens(width, height, fx, fy, cx, cy, kind, tuple(distortion))

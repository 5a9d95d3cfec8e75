"""Depth maps of data sets: integer pictures, float pictures and NumPy arrays, in a stated unit."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from vist3a.data.formats.lens import Lens
from vist3a.data.formats.picture_names import is_file
from vist3a.data.formats.text import shown
from vist3a.data.rejected import RejectedError

KINDS = {".png": "picture", ".tif": "picture", ".tiff": "picture", ".exr": "picture", ".npy": "array", ".npz": "array"}
"""What the usual endings hold; of others whatever Pillow reads is taken."""
MODES = ("L", "I", "I;16", "I;16L", "I;16B", "I;16N", "F")
"""Pillow's names for pictures of one channel of numbers."""
KEY = "depth"
"""Name of the array in a .npz file that holds several."""


@dataclass(frozen=True)
class DepthFile:
    """A file of z-depth. ``unit`` is the depth of the value 1.

    0 and less, NaN and infinity mean that there is none; so does ``invalid`` in maps of integers. ``lens`` is that of the depth
    camera, which must share the pose of the colour camera.
    """

    path: Path
    unit: float
    lens: Lens
    invalid: int = 65535

    def check(self) -> None:
        """Read the file to its end.

        Raises:
            RejectedError: It is missing or damaged, or no map of the shape that its lens is stated for.
        """
        self.lens.for_size(*self._values().shape)

    def seen_by(self, intrinsics: Float[Tensor, "3 3"], height: int, width: int) -> Float[Tensor, "height width"]:
        """Depth for a pinhole camera at the same place: nearest value along each pixel's ray, 0 where there is none.

        Raises:
            RejectedError: As :meth:`check`.
        """
        found = self._values()
        values = torch.from_numpy(found.astype("float64"))
        known = torch.isfinite(values) & (values > 0)
        if found.dtype.kind in "iu":
            known &= values != self.invalid
        lens = self.lens.for_size(*values.shape)
        # Rays of the target's pixel centers on the plane z = 1 ...
        x = (torch.arange(width) + 0.5 - intrinsics[0, 2]) / intrinsics[0, 0]
        y = (torch.arange(height) + 0.5 - intrinsics[1, 2]) / intrinsics[1, 1]
        rays = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
        rays = rays if lens.straight else lens.distorted(rays)
        # ... and the pixels of the depth map that they fall into.
        column = (rays[..., 0] * lens.fx + lens.cx).floor().long()
        row = (rays[..., 1] * lens.fy + lens.cy).floor().long()
        inside = (row >= 0) & (row < values.shape[0]) & (column >= 0) & (column < values.shape[1])
        # Clamped to have an index; what is outside is masked below.
        place = row.clamp(0, values.shape[0] - 1), column.clamp(0, values.shape[1] - 1)
        return torch.where(inside & known[place], values[place] * self.unit, 0.0).float()

    def _values(self) -> NDArray[Any]:
        if not is_file(self.path):
            raise RejectedError(f"depth {shown(self.path.name)} is missing")
        read = {".npy": _array, ".npz": _array, ".exr": _exr}.get(self.path.suffix.lower(), _picture)
        try:
            values = read(self.path)
        except RejectedError:
            raise
        # Decoders and NumPy raise what they meet in damaged bytes.
        except (OSError, SyntaxError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
            if (suffix := self.path.suffix.lower()) in KINDS:
                raise RejectedError(
                    f"{shown(self.path.name)} is damaged or cut short; a whole {KINDS[suffix]} is needed"
                ) from error
            allowed = ", ".join(KINDS)
            raise RejectedError(f"depth {shown(self.path.name)} cannot be read; allowed are {allowed}") from error
        # A single channel, stored first or last.
        if values.ndim == 3 and 1 in (values.shape[0], values.shape[2]):
            values = values.squeeze(0 if values.shape[0] == 1 else 2)
        if values.ndim != 2 or 0 in values.shape or values.dtype.kind not in "iuf":
            raise RejectedError(
                f"depth {shown(self.path.name)} is {values.dtype} of shape {values.shape}; numbers in rows and columns are needed"
            )
        return values


def _array(path: Path) -> NDArray[Any]:
    with path.open("rb") as opened:
        read = np.load(opened, allow_pickle=False)
        if isinstance(read, np.ndarray):
            return read
        names = read.files
        if len(names) != 1 and KEY not in names:
            found = f"holds {len(names)} arrays"
            raise RejectedError(f"depth {shown(path.name)} {found}; one, or one named {KEY}, is needed")
        return np.asarray(read[names[0] if len(names) == 1 else KEY])


def _picture(path: Path) -> NDArray[Any]:
    from PIL import Image

    try:
        with Image.open(path) as opened:
            if opened.mode not in MODES:
                found = f"colours ({opened.mode})"
                raise RejectedError(f"depth {shown(path.name)} is a picture of {found}; one channel of depth is needed")
            return np.array(opened)
    except Image.DecompressionBombError as error:
        raise RejectedError(f"depth {shown(path.name)} has more pixels than any depth map") from error


def _exr(path: Path) -> NDArray[np.float32]:
    """The luminance channel, or the one that three equal colour channels repeat."""
    import av

    try:
        # By FFmpeg, as Pillow does not read OpenEXR.
        with av.open(str(path), format="exr_pipe") as opened:
            frame = next(opened.decode(video=0))
            if frame.format.name == "grayf32le":
                return np.asarray(frame.to_ndarray())
            colours = np.asarray(frame.to_ndarray(format="gbrpf32le"))
    except (av.error.FFmpegError, StopIteration, IndexError, ValueError) as error:
        allowed = "of OpenEXR, whole files with a channel Y or equal R, G and B are read"
        raise RejectedError(f"depth {shown(path.name)} cannot be read; {allowed}") from error
    if not np.array_equal(colours[..., 0], colours[..., 1], equal_nan=True):
        raise RejectedError(f"depth {shown(path.name)} has different colour channels; one channel of depth is needed")
    return np.asarray(colours[..., 0])

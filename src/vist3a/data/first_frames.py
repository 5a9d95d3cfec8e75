"""Pictures that image-to-video generators start from."""

from __future__ import annotations

from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from vist3a.data.image_folder import image_paths
from vist3a.data.picture import read_picture
from vist3a.data.rejected import RejectedError
from vist3a.data.resizing import fit


def read_first_frames(path: Path, height: int, width: int) -> dict[str, Float[Tensor, "3 height width"]]:
    """The image ``path``, or all images directly in that folder, by name, cropped to the aspect and resized, in [0, 1].

    ValueError when there is none or one cannot be read.
    """
    if not path.exists():
        raise ValueError(f"generate.image: {path} does not exist; allowed: an image, or a folder of images")
    files = image_paths(path) if path.is_dir() else [path]
    if not files:
        raise ValueError(
            f"generate.image: the folder {path} holds no image (png, jpg, webp, tif or another that Pillow reads)"
        )
    try:
        return {file.stem: fit(read_picture(file, upright=True), height, width).float() / 255 for file in files}
    except RejectedError as error:
        raise ValueError(f"generate.image: {error}") from error

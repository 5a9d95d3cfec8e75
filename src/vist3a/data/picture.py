"""A picture of any kind that Pillow decodes, as 8-bit sRGB over black."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from vist3a.data.rejected import RejectedError

if TYPE_CHECKING:
    from PIL import Image

HEIC = frozenset({".heic", ".heif", ".hif"})
"""Endings that Pillow reads with an extra package (its wheels hold parts under the GPL, so it is not installed unasked)."""
ANIMATIONS = frozenset({"GIF", "PNG", "WEBP", "AVIF"})
"""Formats whose further pictures are moments; further pictures of others are sizes, layers or pages: the first is read."""
NO_VIEWS = frozenset({"GIF", "FLI", "MPEG", "EPS"})
"""What Pillow opens although it is a video, or a program (PostScript)."""
EXIF_ORIENTATION = 0x0112
COLOUR_SPACES = {"RGB": "RGB ", "L": "GRAY", "CMYK": "CMYK", "LAB": "Lab "}
"""Modes of Pillow, and what a profile for them is called in ICC files."""


@cache
def picture_endings() -> frozenset[str]:
    """Endings of pictures, in lower case with their dot: what Pillow decodes, animations apart, and HEIC."""
    formats = set(_formats()) - NO_VIEWS
    # MPO files are opened as the JPEG that they begin with, so Pillow lists no opener of that name.
    endings = {ending for ending, kind in _pillow().registered_extensions().items() if kind in {*formats, "MPO"}}
    return frozenset(endings - {".apng", ".avifs"} | HEIC)


def read_picture(path: Path, upright: bool) -> UInt8[Tensor, "3 rows columns"]:
    """A picture as 8-bit sRGB, whatever it is stored as.

    Sixteen bits (grey) are divided by 257. Transparency becomes black: colours are multiplied by their alpha. Colours of
    an embedded ICC profile are converted to sRGB; a profile that is none for the picture is ignored, as browsers do.

    Args:
        path: The file; its content, not its ending, says what it is.
        upright: Turn by the EXIF orientation; otherwise rows and columns are those stored.

    Raises:
        RejectedError: Missing, damaged, no picture, an animation, or with numbers that have no stated white.
    """
    import numpy as np
    from PIL import ImageOps

    with opened_picture(path) as stored:
        if stored.format in ANIMATIONS and getattr(stored, "is_animated", False):
            found = f"is an animation of {getattr(stored, 'n_frames', 0)} pictures"
            raise RejectedError(f"image {path.name} {found}; pictures of one view each, or a video file, are needed")
        # Asked before loading, which turns a TIFF and forgets how.
        back = _tiff_turn(stored)
        stored.load()
        image: Image.Image = stored
        if upright:
            image = ImageOps.exif_transpose(stored)
        elif back is not None:
            image = stored.transpose(back)
        colours, alpha = _eight_bits(image, stored, path.name)
        pixels = np.array(_standard_colours(colours, stored.info.get("icc_profile")))
    if alpha is not None:
        # Rounded to the nearest: 255 is odd, so that there are no ties.
        pixels = ((pixels.astype(np.uint16) * np.array(alpha, np.uint16)[..., None] + 127) // 255).astype(np.uint8)
    return torch.from_numpy(pixels).permute(2, 0, 1)


def stored_size(path: Path, called: str = "") -> tuple[int, int]:
    """Height and width as stored (before any turn), from the head of the file; ``called`` as in :func:`opened_picture`.

    Raises:
        RejectedError: Missing, or no picture.
    """
    with opened_picture(path, called) as image:
        turn = _tiff_turn(image)
        # Pillow states the size of a TIFF after its turn, even before it is loaded.
        crossed = turn is not None and turn.name in {"TRANSPOSE", "TRANSVERSE", "ROTATE_90", "ROTATE_270"}
        return (image.width, image.height) if crossed else (image.height, image.width)


@contextmanager
def opened_picture(path: Path, called: str = "") -> Iterator[Image.Image]:
    """The file opened by Pillow; whatever a decoder raises inside (MemoryError apart) becomes a RejectedError.

    ``called`` is the subject of its sentence, the file's name unless given.
    """
    try:
        with warnings.catch_warnings():
            # Of odd but readable files, and of large ones: what is too large is an error.
            warnings.simplefilter("ignore")
            # As a stream: Pillow maps the memory of files that it is given by name, and so garbles turned grey TIFF.
            with path.open("rb") as file, _pillow().open(file, formats=_formats()) as image:
                yield image
    except (RejectedError, MemoryError):
        raise
    except Exception as error:
        raise RejectedError(_sentence(called or f"image {path.name}", path, error)) from error


def _sentence(called: str, path: Path, error: Exception) -> str:
    pillow = _pillow()
    if isinstance(error, FileNotFoundError):
        return f"{called} is missing"
    if isinstance(error, pillow.DecompressionBombError):
        largest = 2 * (pillow.MAX_IMAGE_PIXELS or 0)
        return f"{called} cannot be read: it has too many pixels; at most {largest} are allowed"
    if path.suffix.lower() in HEIC and not find_spec("pillow_heif"):
        return f'{called} cannot be read: HEIC files need the extra "heic" (pip install ".[heic]")'
    return f"{called} cannot be read; a whole picture is needed (png, jpg, webp, tif or another that Pillow reads)"


def _pillow() -> Any:
    """The module PIL.Image with all of its formats."""
    from PIL import Image

    if find_spec("pillow_heif"):
        import pillow_heif

        pillow_heif.register_heif_opener()
    Image.init()
    return Image


def _tiff_turn(image: Image.Image) -> Image.Transpose | None:
    """What takes back the turn that Pillow gives to TIFF, and to no other format, when it loads them."""
    from PIL.Image import Transpose

    if image.format != "TIFF":
        return None
    # Of the EXIF orientations 2 to 8.
    inverses = (
        Transpose.FLIP_LEFT_RIGHT, Transpose.ROTATE_180, Transpose.FLIP_TOP_BOTTOM, Transpose.TRANSPOSE,
        Transpose.ROTATE_90, Transpose.TRANSVERSE, Transpose.ROTATE_270,
    )  # fmt: skip
    return dict(enumerate(inverses, start=2)).get(image.getexif().get(EXIF_ORIENTATION, 1))


@cache
def _formats() -> tuple[str, ...]:
    """What may be opened: formats with a decoder of Pillow's own; PostScript would be executed by another program."""
    from PIL import ImageFile

    kinds = {name: opener[0] for name, opener in _pillow().OPEN.items()}
    stubs = {n for n, kind in kinds.items() if isinstance(kind, type) and issubclass(kind, ImageFile.StubImageFile)}
    return tuple(sorted(set(kinds) - stubs - (NO_VIEWS - {"GIF"})))


def _eight_bits(image: Image.Image, stored: Image.Image, name: str) -> tuple[Image.Image, Image.Image | None]:
    """Colours in a mode of eight bits, and alpha where there is any. ``stored`` knows the file's format and tags."""
    from PIL import Image as pillow

    # Pillow opens a 16-bit PGM as 32-bit integers.
    if image.mode.startswith("I;16") or (image.mode == "I" and stored.format == "PPM"):
        return pillow.fromarray(_from_sixteen_bits(image, stored)), None
    if image.mode in {"I", "F"}:
        kind = "floats" if image.mode == "F" else "32-bit integers"
        raise RejectedError(f"image {name} holds {kind}, whose white is not stated; 8 or 16 bits a channel are needed")
    if "transparency" in image.info or image.mode in {"LA", "PA", "RGBA", "La", "RGBa"}:
        *_, alpha = (whole := image.convert("RGBA")).split()
        return whole.convert("RGB"), alpha
    return (image if image.mode in COLOUR_SPACES else image.convert("RGB")), None


def _from_sixteen_bits(image: Image.Image, stored: Image.Image) -> Any:
    """Grey of 16 bits to 8, rounded; TIFF may hold twelve of them, or count from white."""
    import numpy as np

    # Tag 258 is BitsPerSample, 262 PhotometricInterpretation (0: white is zero).
    tags = getattr(stored, "tag_v2", {})
    largest = 4095 if tags.get(258) in {12, (12,)} else 65535
    values = np.array(image).astype(np.int64)
    # The rounded value of 255 v / largest, in integers.
    grey = (values.clip(0, largest) * 510 + largest) // (2 * largest)
    if tags.get(262) == 0:
        grey = 255 - grey
    # A grey PNG may name one value that is transparent.
    clear = image.info.get("transparency")
    return np.where(values == clear, 0, grey).astype(np.uint8) if isinstance(clear, int) else grey.astype(np.uint8)


def _standard_colours(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Colours of a profile as sRGB."""
    from PIL import ImageCms

    if not profile and image.mode != "LAB":
        return image.convert("RGB")
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile) if profile else ImageCms.createProfile("LAB"))
        stated = source.profile
        # A profile of another color space is a mistake; one of sRGB would add nothing but rounding.
        if stated.xcolor_space != COLOUR_SPACES.get(image.mode) or "sRGB" in (stated.profile_description or ""):
            return image.convert("RGB")
        converted = ImageCms.profileToProfile(
            image,
            source,
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (OSError, ImageCms.PyCMSError):
        return image.convert("RGB")
    assert converted is not None  # only conversions in place give none
    return converted

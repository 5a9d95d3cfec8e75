"""Two networks may look at the same clip in different sizes; each resizes frames to its own on the way in."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def resize_frames(
    frames: Float[Tensor, "batch views 3 height width"], size: tuple[int, int] | None
) -> Float[Tensor, "batch views 3 new_height new_width"]:
    """Antialiased bilinear to ``size`` (height, width); the frames themselves where they have it or it is None."""
    if size is None or tuple(frames.shape[-2:]) == tuple(size):
        return frames
    flat = functional.interpolate(frames.flatten(0, 1), size, mode="bilinear", antialias=True)
    return flat.unflatten(0, tuple(frames.shape[:2]))


class ResizesFrames:
    """Mixed into both contracts."""

    input_size: tuple[int, int] | None = None
    """Height and width that frames are resized to before the network sees them; None: as they come."""

    def frame_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width at which the network sees frames of ``height`` x ``width``."""
        return self.input_size or (height, width)

    def fit(
        self, frames: Float[Tensor, "batch views 3 height width"]
    ) -> Float[Tensor, "batch views 3 new_height new_width"]:
        """Frames as the network sees them."""
        return resize_frames(frames, self.input_size)

"""The contract of a multi-view 3D network: it can be run whole, tapped at any block and entered at any block."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from vist3a.records import Reconstruction, StitchPoint, TokenState
from vist3a.records.frame_size import ResizesFrames


class ReconstructionModel(ResizesFrames, nn.Module, ABC):
    """A feed-forward network from frames to cameras, depth, points and possibly Gaussians.

    Methods that take frames resize them to ``input_size``; all outputs are at that size.

    Invariant, for every stitch point p: ``reconstruct_from(tokens_at([p], x)[p], size, rgb=x)`` equals ``reconstruct(x)``.
    """

    patch_size: int
    needs_rgb: bool
    """Whether a head reads the image itself, so that ``reconstruct_from`` must be given ``rgb``."""
    has_gaussians: bool
    """Whether reconstructions hold Gaussians."""

    @property
    @abstractmethod
    def stitch_points(self) -> tuple[StitchPoint, ...]:
        """All places where the network can be entered, first to last."""

    def stitch_point(self, name: str) -> StitchPoint:
        """The stitch point called ``name``; ValueError naming the allowed ones."""
        for point in self.stitch_points:
            if point.name == name:
                return point
        allowed = ", ".join(point.name for point in self.stitch_points)
        raise ValueError(f"unknown stitch point {name!r}; allowed: {allowed}")

    def token_grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of patch tokens; ValueError if a side is not a multiple of the patch size."""
        if height % self.patch_size or width % self.patch_size:
            raise ValueError(f"frames of {height}x{width} px: both sides must be multiples of {self.patch_size}")
        return height // self.patch_size, width // self.patch_size

    def one_gaussian_per_pixel(self) -> None:
        """From now on give one Gaussian per pixel, where a network can fuse them: those of two networks then correspond."""

    @abstractmethod
    def trunk(
        self, frames: Float[Tensor, "batch views 3 height width"], keep: Sequence[str] = ()
    ) -> tuple[dict[int, Tensor], dict[str, TokenState]]:
        """Features that the heads read, by depth, and the states at the points ``keep``, in one pass."""

    @abstractmethod
    def run_from(
        self, state: TokenState, size: tuple[int, int], keep: Sequence[str] = (), until: str | None = None
    ) -> tuple[dict[int, Tensor], dict[str, TokenState]]:
        """As :meth:`trunk`, continuing behind ``state.point`` for frames of ``size`` (height, width).

        Nothing behind the point ``until`` is run; the features for the heads are then incomplete.
        """

    @abstractmethod
    def heads(
        self,
        taps: Mapping[int, Tensor],
        size: tuple[int, int],
        rgb: Float[Tensor, "batch views 3 height width"] | None = None,
        with_gaussians: bool = True,
    ) -> Reconstruction:
        """Reconstruction from what :meth:`trunk` or :meth:`run_from` gave."""

    @abstractmethod
    def tokens_at(
        self, points: Sequence[str], frames: Float[Tensor, "batch views 3 height width"]
    ) -> dict[str, TokenState]:
        """States at the named points for RGB frames in [0, 1]; nothing behind the last of them is run."""

    @abstractmethod
    def reconstruct(
        self, frames: Float[Tensor, "batch views 3 height width"], with_gaussians: bool = True
    ) -> Reconstruction:
        """The whole network on RGB frames in [0, 1]; ``with_gaussians`` false skips a Gaussian head."""

    @abstractmethod
    def reconstruct_from(
        self,
        state: TokenState,
        size: tuple[int, int],
        rgb: Float[Tensor, "batch views 3 height width"] | None = None,
        with_gaussians: bool = True,
    ) -> Reconstruction:
        """The rest of the network behind ``state.point`` (exact entry) for frames of ``size`` (height, width).

        ``rgb`` in [0, 1] is read only by heads that inject the image; ValueError when such a head misses it.
        """

    gradient_checkpointing: bool = False
    """Whether blocks of the trunk are recomputed in the backward pass instead of stored."""

    def compile_blocks(self, **options: Any) -> None:
        """Let ``torch.compile``, given ``options``, compile the repeated blocks at their first use; no key changes."""

    def accelerate(self) -> None:
        """Trade a wait at the first call for speed, for inference: compiled blocks, convolutions laid out for tensor cores."""

    @abstractmethod
    def drop_before(self, point: str) -> None:
        """Delete the parameters that nothing behind ``point`` uses (the network can then only be entered there or later)."""

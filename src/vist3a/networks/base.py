"""The contract of a multi-view 3D network: it can be run whole, tapped at any block and entered at any block."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn

from vist3a.records import FIRST_AND_OTHERS, Reconstruction, StitchPoint, TokenRoles, TokenState
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
    def geometry_needs_rgb(self) -> bool:
        """Whether ``reconstruct_from`` must be given ``rgb`` even where no Gaussians are asked for.

        By default the image is read by the Gaussian head alone, where there is one.
        """
        return self.needs_rgb and not self.has_gaussians

    token_roles: TokenRoles = FIRST_AND_OTHERS
    """Which views share their special tokens."""
    points_from_depth: bool = True
    """Whether points and depth are one surface: z of a view's points in its camera is its depth. False: two heads say."""
    positive_depth: bool = True
    """Whether depth is above 0 by construction. False: points are regressed, and may lie behind their camera."""

    def fixed_views(self, views: int) -> tuple[int, ...]:
        """Numbers of those among ``views`` views whose place matters; if others change places, their results do, and that is all.

        The first, unless the network says otherwise.
        """
        return (0,)

    def origin_view(self, views: int) -> int | None:
        """Number of the view whose camera is the world by construction; None: of none, or one that is learned or chosen.

        The first, unless the network says otherwise.
        """
        return 0

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

    def points_of(self, kinds: Sequence[str] | None, where: str = "extract.kinds") -> tuple[StitchPoint, ...]:
        """The stitch points of these kinds, first to last; of all kinds for None. ``where`` is the parameter that said so.

        Raises:
            ValueError: A kind is none of this network's.
        """
        own = tuple(dict.fromkeys(point.kind for point in self.stitch_points))
        if unknown := [kind for kind in kinds or () if kind not in own]:
            raise ValueError(f"{where}: {', '.join(unknown)}; allowed for {type(self).__name__}: {', '.join(own)}")
        return tuple(point for point in self.stitch_points if kinds is None or point.kind in kinds)

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


@runtime_checkable
class ReleasedEntry(Protocol):
    """What a network may be able to do besides: be entered as the published VIST3A checkpoints do it, for reading those only."""

    def reconstruct_released(
        self,
        patch_tokens: Float[Tensor, "batch views rows columns channels"],
        first_block: int,
        size: tuple[int, int],
        rgb: Float[Tensor, "batch views 3 height width"] | None = None,
        with_gaussians: bool = True,
    ) -> Reconstruction:
        """``patch_tokens`` stand for the output of the first ``first_block`` encoder blocks, but enter as if it were none."""

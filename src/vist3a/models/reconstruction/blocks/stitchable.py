"""What the networks of the VGGT family share: trunk, entry points, checkpoints. Subclasses add heads."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.models.reconstruction.base import ReconstructionModel
from vist3a.models.reconstruction.blocks.alternating import Aggregator
from vist3a.models.reconstruction.blocks.config import TrunkConfig
from vist3a.models.reconstruction.blocks.weights_io import load_strictly, read_folder, write_folder
from vist3a.records import Reconstruction, StitchPoint, TokenState

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

ConfigT = TypeVar("ConfigT", bound=TrunkConfig)
NetworkT = TypeVar("NetworkT", bound="StitchableNetwork[Any]")


def normalise_images(frames: Float[Tensor, "*batch 3 height width"]) -> Float[Tensor, "*batch 3 height width"]:
    """ImageNet normalisation of RGB in [0, 1], with constants that no cast of the network can round."""
    frames = frames.to(torch.promote_types(frames.dtype, torch.float32))
    channels = zip(frames.unbind(-3), IMAGENET_MEAN, IMAGENET_STD, strict=True)
    return torch.stack([(channel - mean) / std for channel, mean, std in channels], dim=-3)


class StitchableNetwork(ReconstructionModel, Generic[ConfigT]):
    """A trunk that can be stopped at and entered behind any block, followed by heads on its taps.

    Mixed precision: cast ``aggregator`` alone (``model.aggregator.bfloat16()``) or use autocast; the heads compute in
    the dtype of their own weights with autocast off.
    """

    config_class: ClassVar[type[TrunkConfig]]
    ignored_public_prefixes: ClassVar[tuple[str, ...]] = ()
    config: ConfigT

    def __init__(self, config: ConfigT) -> None:
        """Build the trunk; ``config`` fixes every size."""
        super().__init__()
        self.config = config
        self.patch_size = config.patch_size
        self.head_chunk = config.head_chunk
        self.aggregator = Aggregator(config)
        self.entry: str | None = None
        """The point before which parameters were dropped."""

    @property
    def stitch_points(self) -> tuple[StitchPoint, ...]:
        """Encoder blocks, encoder norm, then frame and global block of every aggregator depth."""
        return self.aggregator.points()

    @property
    def gradient_checkpointing(self) -> bool:
        """Whether trunk blocks are recomputed in the backward pass instead of stored."""
        return self.aggregator.gradient_checkpointing

    @gradient_checkpointing.setter
    def gradient_checkpointing(self, value: bool) -> None:
        self.aggregator.gradient_checkpointing = value

    def trunk(
        self, frames: Float[Tensor, "batch views 3 height width"], keep: Sequence[str] = ()
    ) -> tuple[dict[int, Tensor], dict[str, TokenState]]:
        """Taps of all depths that heads read (see ``Aggregator``) and the states at the points ``keep``."""
        return self._run_frames(frames, keep, len(self.aggregator.stages) - 1)

    def run_from(
        self, state: TokenState, size: tuple[int, int], keep: Sequence[str] = ()
    ) -> tuple[dict[int, Tensor], dict[str, TokenState]]:
        """As :meth:`trunk`, continuing behind ``state.point`` for frames of ``size`` (height, width)."""
        self._stages(keep)
        stage = self._stages([state.point])[0]
        self._require_entry(stage)
        tokens, taps = self._check(state, stage, self.token_grid(*size))
        grid = (state.patch_tokens.shape[2], state.patch_tokens.shape[3])
        return self.aggregator.run(tokens, grid, stage, len(self.aggregator.stages) - 1, taps, keep)

    @abstractmethod
    def heads(
        self,
        taps: Mapping[int, Tensor],
        size: tuple[int, int],
        rgb: Float[Tensor, "batch views 3 height width"] | None = None,
        with_gaussians: bool = True,
    ) -> Reconstruction:
        """Reconstruction from the taps for frames of ``size`` (height, width)."""

    def tokens_at(
        self, points: Sequence[str], frames: Float[Tensor, "batch views 3 height width"]
    ) -> dict[str, TokenState]:
        """States at the named points for RGB frames in [0, 1]; nothing behind the last of them is run."""
        stages = self._stages(points)
        return self._run_frames(frames, points, max(stages))[1] if stages else {}

    def reconstruct(
        self, frames: Float[Tensor, "batch views 3 height width"], with_gaussians: bool = True
    ) -> Reconstruction:
        """The whole network on RGB frames in [0, 1]; ``with_gaussians`` false skips a Gaussian head."""
        taps, _ = self.trunk(frames)
        return self.heads(taps, (frames.shape[-2], frames.shape[-1]), frames, with_gaussians)

    def forward(
        self, frames: Float[Tensor, "batch views 3 height width"], with_gaussians: bool = True
    ) -> Reconstruction:
        """Same as :meth:`reconstruct`, so that wrappers that hook the call of a module work."""
        return self.reconstruct(frames, with_gaussians)

    def reconstruct_from(
        self,
        state: TokenState,
        size: tuple[int, int],
        rgb: Float[Tensor, "batch views 3 height width"] | None = None,
        with_gaussians: bool = True,
    ) -> Reconstruction:
        """The rest of the network behind ``state.point`` (exact entry) for frames of ``size`` (height, width)."""
        self._require_rgb(rgb, with_gaussians)
        taps, _ = self.run_from(state, size)
        return self.heads(taps, size, rgb, with_gaussians)

    def drop_before(self, point: str, keep_embedding: bool = False) -> None:
        """Delete the parameters that nothing behind ``point`` uses; keys of the remaining ones do not change.

        ``keep_embedding`` keeps the encoder's class token, registers and position table (see ``Aggregator``).
        """
        stage = self._stages([point])[0]
        self._require_entry(stage)
        self.aggregator.drop_before(stage, keep_embedding)
        self.entry = point

    def save_pretrained(self, folder: str | Path) -> None:
        """Write ``config.json`` and ``model.safetensors`` into ``folder``."""
        header: dict[str, Any] = {"network": type(self).__name__, "entry": self.entry, "config": self.config.to_dict()}
        if self.entry is not None:
            encoder = self.aggregator.patch_embed
            header["keep_embedding"] = encoder is not None and encoder.cls_token is not None
        write_folder(Path(folder), header, self.state_dict())

    @classmethod
    def from_pretrained(cls: type[NetworkT], folder: str | Path, dtype: torch.dtype = torch.float32) -> NetworkT:
        """Load a folder written by :meth:`save_pretrained`, on the CPU, in ``dtype``."""
        header, state = read_folder(Path(folder), dtype)
        if header.get("network") != cls.__name__:
            raise ValueError(f"{folder} holds a {header.get('network')}, not a {cls.__name__}")
        with torch.device("meta"):
            model = cls(cls.config_class.from_dict(header["config"]))
        if header["entry"] is not None:
            model.drop_before(header["entry"], header["keep_embedding"])
        load_strictly(model, state, assign=True)
        return model.eval()

    def load_public_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Load published weights: prefix ``encoder.`` stripped, parts not built here ignored, the rest must fit."""
        stripped = {key.removeprefix("encoder."): value for key, value in state.items()}
        ignored = self.ignored_public_prefixes
        load_strictly(self, {key: value for key, value in stripped.items() if not key.startswith(ignored)})

    def _run_frames(
        self, frames: Tensor, keep: Sequence[str], last: int
    ) -> tuple[dict[int, Tensor], dict[str, TokenState]]:
        self._stages(keep)
        grid = self.token_grid(frames.shape[-2], frames.shape[-1])
        self._require_entry(-1)
        images = normalise_images(frames).to(self.aggregator.patch_embed.patch_embed.proj.weight.dtype)
        return self.aggregator.run(self.aggregator.embed(images), grid, -1, last, keep=keep)

    def _stages(self, names: Sequence[str]) -> list[int]:
        return [self.aggregator.stages.index(self.stitch_point(name).name) for name in names]

    def _require_entry(self, stage: int) -> None:
        if self.entry is not None and stage < self._stages([self.entry])[0]:
            raise RuntimeError(
                f"the blocks before {self.entry!r} were dropped: enter there or later (reconstruct_from)"
            )

    def _require_rgb(self, rgb: Tensor | None, with_gaussians: bool) -> None:
        if self.needs_rgb and with_gaussians and rgb is None:
            raise ValueError(f"the Gaussian head of {type(self).__name__} reads the image: pass rgb")

    def _check(self, state: TokenState, stage: int, grid: tuple[int, int]) -> tuple[Tensor, dict[int, Tensor]]:
        point = self.stitch_point(state.point)
        batch, views, rows, columns, width = state.patch_tokens.shape
        if (rows, columns) != grid:
            raise ValueError(f"patch tokens lie on a {rows}x{columns} grid, frames of this size on {grid[0]}x{grid[1]}")
        expected = (batch, views, point.special_tokens, point.width)
        if width != point.width or tuple(state.special_tokens.shape) != expected:
            raise ValueError(
                f"{state.point}: patch tokens of width {width}, special tokens {tuple(state.special_tokens.shape)}; "
                f"expected width {point.width} and {expected}"
            )
        dtype = self._entry_dtype(stage, state.patch_tokens.dtype)
        tokens = torch.cat([state.special_tokens.to(dtype), state.patch_tokens.flatten(2, 3).to(dtype)], dim=2)
        required = self.aggregator.required_taps(stage)
        wrong = [
            f"{depth} ({'missing' if depth not in state.taps else tuple(state.taps[depth].shape)})"
            for depth, channels in required.items()
            if depth not in state.taps or state.taps[depth].shape != (*tokens.shape[:3], channels)
        ]
        if wrong:
            raise ValueError(
                f"{state.point} needs the taps of earlier depths, wrong or missing: {', '.join(wrong)}; "
                f"expected {tuple(tokens.shape[:3])} tokens with widths {required}"
            )
        return tokens, {depth: state.taps[depth].to(dtype) for depth in required}

    def _entry_dtype(self, stage: int, fallback: torch.dtype) -> torch.dtype:
        # Behind the last block nothing of the trunk is left to say in which dtype it would have computed.
        if stage == len(self.aggregator.stages) - 1:
            return fallback
        return self.aggregator.global_blocks[-1].get_parameter("norm1.weight").dtype

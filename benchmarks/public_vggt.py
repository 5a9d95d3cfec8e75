"""The public VGGT's code beside ours: what ``reconstruction.py`` needs to run both on the same weights and frames."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vist3a.networks.vggt import VGGT

COMPARED_TOKENS = ("encoder.23", "aggregator.global.23")


def holds_package(folder: Path) -> bool:
    """Whether the public code is there."""
    return (folder / "vggt" / "models" / "vggt.py").is_file()


class PublicVGGT:
    """The public code as its documentation runs it, and its blocks' outputs through hooks."""

    def __init__(
        self,
        folder: Path,
        device: torch.device,
        draw: Callable[[Mapping[str, Tensor], torch.device], dict[str, Tensor]],
    ) -> None:
        """``folder`` holds the package ``vggt``; ``draw`` makes the weights. The tracker is left out, as it is of ours."""
        sys.path.insert(0, str(folder))
        from vggt.models.vggt import VGGT as Public

        with torch.device(device):
            model = Public(enable_track=False)
        model.load_state_dict(draw(model.state_dict(), device), assign=True)
        # Its constants are made on the CPU wherever the rest is.
        self.model = model.to(device).requires_grad_(False).eval()
        self.device = device

    def reconstruct(self, frames: Tensor, half: bool = True) -> dict[str, Tensor]:
        """All outputs; ``half`` as published, under bfloat16 autocast."""
        with self._precision(half):
            return {key: value for key, value in self.model(frames).items() if isinstance(value, Tensor)}

    def tokens(self, points: Sequence[str], frames: Tensor) -> dict[str, Tensor]:
        """Outputs of blocks named as our stitch points; only the encoder is run where all of them lie in it."""
        trunk = self.model.aggregator
        with self._precision(half=True), self._tapped(points) as found:
            if any(name.startswith("aggregator") for name in points):
                trunk(frames)
            else:
                trunk.patch_embed(((frames - trunk._resnet_mean) / trunk._resnet_std).flatten(0, 1))
        return found

    def results(self, frames: Tensor, half: bool) -> dict[str, Tensor]:
        """All outputs, and some tokens as [batch, views, tokens, channels]."""
        with self._tapped(COMPARED_TOKENS) as tokens:
            found = self.reconstruct(frames, half)
        del found["images"]
        return found | {key: value.reshape(*frames.shape[:2], -1, value.shape[-1]) for key, value in tokens.items()}

    @contextmanager
    def _tapped(self, points: Sequence[str]) -> Iterator[dict[str, Tensor]]:
        found: dict[str, Tensor] = {}
        handles = [
            self._block(name).register_forward_hook(lambda _, __, out, name=name: found.__setitem__(name, out))
            for name in points
        ]
        yield found
        for handle in handles:
            handle.remove()

    def _precision(self, half: bool) -> Any:
        return torch.autocast(self.device.type, torch.bfloat16) if half else nullcontext()

    def _block(self, name: str) -> nn.Module:
        trunk, (*kind, number) = self.model.aggregator, name.split(".")
        lists = {"encoder": trunk.patch_embed.blocks, "frame": trunk.frame_blocks, "global": trunk.global_blocks}
        block: nn.Module = lists[kind[-1]][int(number)]
        return block


def our_results(network: VGGT, frames: Tensor) -> dict[str, Tensor]:
    """The same of ours, under the names of the public code."""
    taps, states = network.trunk(frames, COMPARED_TOKENS)
    scene = network.heads(taps, (frames.shape[-2], frames.shape[-1]))
    return {
        "pose_enc": scene.pose_encodings[-1],
        "depth": scene.depth[..., None],
        "depth_conf": scene.depth_confidence,
        "world_points": scene.points,
        "world_points_conf": scene.points_confidence,
    } | {
        name: torch.cat([state.special_tokens, state.patch_tokens.flatten(2, 3)], dim=2)
        for name, state in states.items()
    }


def collected(run: Callable[[Tensor], dict[str, Tensor]], clips: Sequence[Tensor]) -> dict[str, Tensor]:
    """Results of several clips one after the other, on the CPU, side by side."""
    parts = [{key: value.float().cpu() for key, value in run(frames).items()} for frames in clips]
    return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}


def deviation(found: Tensor, reference: Tensor) -> float:
    """Root mean square of the difference, relative to that of the reference."""
    wide = reference.double()
    return math.sqrt(float((found.double() - wide).square().mean() / wide.square().mean()))


@contextmanager
def exact_float32() -> Iterator[None]:
    """No TF32 in convolutions and products."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before

"""Clips on disk: one safetensors file each, and an index that says which, where from, and with which hash."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from jaxtyping import UInt8
from torch import Tensor

from vist3a.data.splits import SPLITS
from vist3a.records.cameras import Cameras
from vist3a.records.clip import Clip
from vist3a.runtime.atomic import replacing

COLUMNS = (
    "name", "split", "source", "caption", "frames", "height", "width", "first", "stride",
    "sharpness", "brightness", "motion", "sha256",
)  # fmt: skip
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,126}")


def clip_path(folder: Path, name: str) -> Path:
    """File of a clip.

    Raises:
        ValueError: The name could leave the folder.
    """
    if not _SAFE_NAME.fullmatch(name):
        raise ValueError(f"clip name {name!r}: letters, digits and . _ - are allowed, beginning with a letter or digit")
    return folder / f"{name}.safetensors"


def write_clip(folder: Path, clip: Clip) -> Path:
    """Write frames as bytes, depth and cameras as float32; the same clip always gives the same bytes."""
    from safetensors.torch import save_file

    path = clip_path(folder, clip.name)
    tensors: dict[str, Tensor] = {"frames": (clip.frames.cpu() * 255).round().clamp(0, 255).to(torch.uint8)}
    if clip.depth is not None:
        tensors["depth"] = clip.depth.cpu().float()
    if clip.cameras is not None:
        tensors["world_to_camera"] = clip.cameras.world_to_camera.cpu().float()
        tensors["intrinsics"] = clip.cameras.intrinsics.cpu().float()
    # One key only: the format keeps several in an order of chance.
    about: dict[str, object] = {"name": clip.name, "caption": clip.caption}
    if clip.files:
        about["files"] = list(clip.files)
    metadata = {"clip": json.dumps(about, sort_keys=True)}
    with replacing(path) as temporary:
        save_file({key: value.contiguous() for key, value in tensors.items()}, temporary, metadata=metadata)
    return path


@dataclass(frozen=True)
class ClipStore:
    """Clips of a folder that an index lists."""

    folder: Path
    index: pd.DataFrame

    def __post_init__(self) -> None:
        missing = [column for column in COLUMNS if column not in self.index.columns]
        if missing:
            raise ValueError(
                f"clip index of {self.folder}: no column {', '.join(missing)}; run the curate pipeline again"
            )

    def names(self, split: str) -> list[str]:
        """Names of the clips of a split, in the order of the index."""
        if split not in SPLITS:
            raise ValueError(f"split {split!r}: allowed are {', '.join(SPLITS)}")
        return [str(name) for name in self.index.loc[self.index["split"] == split, "name"]]

    def load(self, name: str) -> Clip:
        """A clip with frames in [0, 1].

        Raises:
            ValueError: Not in the index, missing, or not the file that the index describes.
        """
        return _parse(self._content(name))

    def load_frames(self, name: str) -> UInt8[Tensor, "views 3 height width"]:
        """The frames of a clip as they are stored; errors as for :meth:`load`."""
        from safetensors.torch import load

        return load(self._content(name))["frames"]

    def load_split(self, split: str) -> list[Clip]:
        """All clips of a split."""
        return [self.load(name) for name in self.names(split)]

    def _content(self, name: str) -> bytes:
        rows = self.index.loc[self.index["name"] == name, "sha256"]
        if len(rows) != 1:
            raise ValueError(
                f"clip {name!r} is listed {len(rows)} times in the index of {self.folder}; it must be once"
            )
        path = clip_path(self.folder, name)
        if not path.is_file():
            raise ValueError(f"clip file {path} is missing; run the curate pipeline again")
        content = path.read_bytes()
        # Checked at every load: no result may come from other clips than the index says.
        found, wanted = hashlib.sha256(content).hexdigest(), str(rows.iloc[0])
        if found != wanted:
            raise ValueError(
                f"clip file {path} has sha256 {found}, the index says {wanted}; run the curate pipeline again"
            )
        return content


def _parse(content: bytes) -> Clip:
    from safetensors.torch import load

    tensors = load(content)
    # The loader drops metadata; the file begins with the length of its JSON header in eight bytes.
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    about = json.loads(header["__metadata__"]["clip"])
    cameras = Cameras(tensors["world_to_camera"], tensors["intrinsics"]) if "intrinsics" in tensors else None
    return Clip(
        name=about["name"],
        frames=tensors["frames"].float() / 255,
        caption=about["caption"],
        cameras=cameras,
        depth=tensors.get("depth"),
        files=tuple(about.get("files", ())),
    )

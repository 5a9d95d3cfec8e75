"""What an unfinished run of many scenes keeps of each: its latents, then the record of its files.

A run that is started again takes up what is there, and does nothing twice.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from vist3a.export.scene import scene_name
from vist3a.runtime.atomic import replacing
from vist3a.runtime.run_folder import content_digest


@dataclass(frozen=True)
class KeptScene:
    """Of one prompt (or picture): files in ``state``, and its assets in ``folder``."""

    prompt: str
    state: Path
    folder: Path

    @property
    def has_latents(self) -> bool:
        """Whether it is sampled."""
        return self._latents.is_file()

    def keep_latents(self, latents: Tensor) -> None:
        """Sampled."""
        with replacing(self._latents) as partial:
            save_file({"latents": latents.cpu().contiguous()}, partial)

    def latents(self) -> Tensor:
        """As they were kept, in host memory."""
        return load_file(self._latents)["latents"]

    def keep_record(self, record: dict[str, Any]) -> None:
        """Decoded: its assets are whole, so that the latents go."""
        with replacing(self._record) as partial:
            partial.write_text(json.dumps({**record, "content": content_digest(self.folder)}))
        self._latents.unlink(missing_ok=True)

    def record(self) -> dict[str, Any] | None:
        """What was kept of a finished scene; None where it is not, or where its files are not those that were written."""
        if not self._record.is_file():
            return None
        record: dict[str, Any] = json.loads(self._record.read_text())
        return record if record.pop("content") == content_digest(self.folder) else None

    @property
    def _latents(self) -> Path:
        return self.state / "latents" / f"{self.folder.name}.safetensors"

    @property
    def _record(self) -> Path:
        return self.state / "records" / f"{self.folder.name}.json"


def kept_scenes(prompts: Sequence[str], seed: int, state: Path, output: Path) -> list[KeptScene]:
    """Of every prompt, in their order.

    Example:
        >>> kept_scenes(["red ball"], 3, Path("state"), Path("scenes"))[0].folder
        PosixPath('scenes/red-ball-3')
    """
    return [KeptScene(prompt, state, output / scene_name(prompt, seed)) for prompt in prompts]

"""What an unfinished evaluation keeps of a block of prompts, in one state of the generator."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file, save_file

from vist3a.runtime.atomic import replacing
from vist3a_app.pipelines.evaluate.generation import Block, Generated


@dataclass(frozen=True)
class KeptBlock:
    """A block, before or after alignment, and its files in ``state``."""

    block: Block
    aligned: bool
    state: Path

    @property
    def is_there(self) -> bool:
        """Whether it is measured."""
        return self._figures.is_file()

    def keep(self, found: Generated) -> None:
        """Write what was measured."""
        with replacing(self._pictures) as partial:
            save_file({f"{place:06d}": picture.contiguous() for place, picture in enumerate(found.pictures)}, partial)
        # Last: with the figures it is there. What is not finite is written as Python reads it again.
        with replacing(self._figures) as partial:
            partial.write_text(json.dumps({"scores": found.scores, "films": found.films, "distances": found.distances}))

    def read(self) -> Generated:
        """What was kept, to the bit."""
        pictures = load_file(self._pictures)
        return Generated(
            pictures=[pictures[name] for name in sorted(pictures)], **json.loads(self._figures.read_text())
        )

    @property
    def _figures(self) -> Path:
        return self.state / f"{self._name}.json"

    @property
    def _pictures(self) -> Path:
        return self.state / f"{self._name}.safetensors"

    @property
    def _name(self) -> str:
        return f"{'after' if self.aligned else 'before'}-{self.block.start:06d}"

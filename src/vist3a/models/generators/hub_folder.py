"""Parts of a generator from a hub id or a local folder in the hub's layout; only safetensors and JSON are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class HubFolder:
    """Where the parts lie, and the numeric type they are loaded in; ``variant`` is that of the file names (fp16)."""

    source: str
    revision: str | None = None
    variant: str | None = None
    dtype: torch.dtype = torch.float32

    def network(self, network_class: Any, subfolder: str) -> Any:
        """A diffusers network."""
        return network_class.from_pretrained(
            self.source, subfolder=subfolder, torch_dtype=self.dtype, variant=self.variant, **self._where
        )

    def encoder(self, network_class: Any, subfolder: str) -> Any:
        """A transformers network."""
        return network_class.from_pretrained(
            self.source, subfolder=subfolder, dtype=self.dtype, variant=self.variant, **self._where
        )

    def tokenizer(self, subfolder: str) -> Any:
        """A tokenizer of whatever class the folder names."""
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self.source, subfolder=subfolder, revision=self.revision)

    def scheduler(self, allowed: Sequence[str]) -> Any:
        """The scheduler that the folder names; ValueError unless it is one of ``allowed``."""
        import diffusers

        # Any scheduler class reads the file; it says itself which one is meant.
        config = diffusers.UniPCMultistepScheduler.load_config(
            self.source, subfolder="scheduler", revision=self.revision
        )
        name = config["_class_name"]
        if name not in allowed:
            raise ValueError(f"{self.source}: scheduler {name} is not supported; allowed: {', '.join(allowed)}")
        return getattr(diffusers, name).from_config(config)

    @property
    def _where(self) -> dict[str, Any]:
        return {"revision": self.revision, "use_safetensors": True}

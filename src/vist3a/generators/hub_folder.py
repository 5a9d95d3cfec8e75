"""Parts of a generator from a hub id or a local folder in the hub's layout; only safetensors and JSON are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vist3a.weights.damaged_files import damage


@dataclass(frozen=True)
class HubFolder:
    """Where the parts lie, and the numeric type they are loaded in; ``variant`` is that of the file names (fp16).

    What cannot be had is a ``FileNotFoundError`` of one sentence, a damaged file a ``ValueError`` that names it.
    """

    source: str
    revision: str | None = None
    variant: str | None = None
    dtype: torch.dtype = torch.float32

    def part(self, name: str, classes: str | Sequence[str]) -> Any:
        """What lies in the subfolder ``name``, read by a class of diffusers or transformers (schedulers: one of several).

        ValueError for a class that neither library has.
        """
        if name.startswith("tokenizer"):
            return self.tokenizer(name)
        if name.startswith("scheduler"):
            return self.scheduler([classes] if isinstance(classes, str) else classes)
        import diffusers
        import transformers

        if isinstance(classes, str) and hasattr(diffusers, classes):
            return self.network(getattr(diffusers, classes), name)
        if isinstance(classes, str) and hasattr(transformers, classes):
            return self.encoder(getattr(transformers, classes), name)
        raise ValueError(f"{name}: {classes!r}; allowed: the name of a class of diffusers or transformers")

    def network(self, network_class: Any, subfolder: str) -> Any:
        """A diffusers network."""
        return self._read(
            subfolder,
            lambda: network_class.from_pretrained(
                self.source, subfolder=subfolder, torch_dtype=self.dtype, variant=self.variant, **self._where
            ),
        )

    def encoder(self, network_class: Any, subfolder: str) -> Any:
        """A transformers network."""
        return self._read(
            subfolder,
            lambda: network_class.from_pretrained(
                self.source, subfolder=subfolder, dtype=self.dtype, variant=self.variant, **self._where
            ),
        )

    def tokenizer(self, subfolder: str) -> Any:
        """A tokenizer of whatever class the folder names."""
        from transformers import AutoTokenizer

        return self._read(
            subfolder,
            lambda: AutoTokenizer.from_pretrained(self.source, subfolder=subfolder, revision=self.revision),
        )

    def scheduler(self, allowed: Sequence[str]) -> Any:
        """The scheduler that the folder names; ValueError unless it is one of ``allowed``."""
        import diffusers

        # Any scheduler class reads the file; it says itself which one is meant.
        config = self._read(
            "scheduler",
            lambda: diffusers.UniPCMultistepScheduler.load_config(
                self.source, subfolder="scheduler", revision=self.revision
            ),
        )
        name = config["_class_name"]
        if name not in allowed:
            raise ValueError(f"{self.source}: scheduler {name} is not supported; allowed: {', '.join(allowed)}")
        return getattr(diffusers, name).from_config(config)

    @property
    def _where(self) -> dict[str, Any]:
        return {"revision": self.revision, "use_safetensors": True}

    def _read(self, subfolder: str, load: Callable[[], Any]) -> Any:
        try:
            return load()
        except Exception as error:  # of diffusers, transformers, tokenizers or safetensors, each with its own
            # Looked at first: each library reports a damaged file in a way of its own.
            folder = self._local(subfolder)
            if folder is not None and (found := damage(folder)) is not None:
                raise ValueError(f"networks.generator.source: {found}") from error
            # What is left of OSError means that something cannot be had; other errors say themselves what is wrong.
            if not isinstance(error, OSError):
                raise
            if Path(self.source).is_dir():
                raise FileNotFoundError(
                    f"networks.generator.source: {self.source} holds no {subfolder} in diffusers' layout (config and "
                    "safetensors)"
                ) from error
            from huggingface_hub import is_offline_mode

            reason = "HF_HUB_OFFLINE forbids to download it" if is_offline_mode() else "it could not be downloaded"
            raise FileNotFoundError(
                f"networks.generator.source: {subfolder} of {self.source} is not in the hub's cache and {reason}: allow that, or "
                "give a copy of the repository as `path` under generators of weights.yml"
            ) from error

    def _local(self, subfolder: str) -> Path | None:
        """The folder on this machine: given, or in the hub's cache."""
        if Path(self.source).is_dir():
            return Path(self.source) / subfolder
        from huggingface_hub import try_to_load_from_cache

        # Any one of the small files leads to the folder.
        for name in ("config.json", "tokenizer_config.json", "scheduler_config.json"):
            found = try_to_load_from_cache(self.source, f"{subfolder}/{name}", revision=self.revision)
            if isinstance(found, str):
                return Path(found).parent
        return None

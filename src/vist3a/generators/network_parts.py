"""The networks that a generator is made of: loaded by name, placed, forgotten, and made to fit a machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar

import torch
from torch import nn

from vist3a.generators.hub_folder import HubFolder
from vist3a.generators.published import PublishedSizes
from vist3a.runtime.memory_layout import channels_last

# Parts of every generator; "text" is what makes conditions (of SVD: of an image) and brings its tokenizer.
PARTS = ("vae", "tokenizer", "text", "denoiser")

PartsT = TypeVar("PartsT", bound="NetworkParts")


class NetworkParts(nn.Module):
    """Named networks of the public libraries, any of which may be missing (None).

    The constructor takes them by the names in ``ATTRIBUTES``, which are also the folders of the hub's layout.
    """

    ATTRIBUTES: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "vae": ("vae",),
        "tokenizer": ("tokenizer",),
        "text": ("tokenizer", "text_encoder"),
        "denoiser": ("transformer", "scheduler"),
    }
    """Attributes that hold the objects of each part of ``PARTS``, of the denoiser the network first."""
    CLASSES: ClassVar[Mapping[str, str | tuple[str, ...]]] = {}
    """What is loaded for each attribute: the name of a class of diffusers or transformers, for a scheduler all allowed ones.

    Tokenizers name their class themselves.
    """
    TEXT_TOKENS: ClassVar[int] = 0
    """Padded length of a prompt, as published."""
    published: ClassVar[PublishedSizes] = MappingProxyType({})
    """Sizes of published repositories, by name: what a rehearsal builds with random weights."""

    def __init__(self, max_text_tokens: int | None = None, **parts: Any) -> None:
        super().__init__()
        known = dict.fromkeys(name for names in self.ATTRIBUTES.values() for name in names)
        if unknown := sorted(parts.keys() - known):
            raise ValueError(f"{type(self).__name__} has no {', '.join(unknown)}; allowed: {', '.join(known)}")
        # Every attribute exists, None where nothing was given; the order is that of the state dict.
        for name in dict.fromkeys([*parts, *known]):
            setattr(self, name, parts.get(name))
        self.max_text_tokens = self._padded_length() if max_text_tokens is None else max_text_tokens

    def _padded_length(self) -> int:
        """As published, or shorter where the tokenizer says so: a denoiser that learned from 40 tokens is lost among 512."""
        return min(self.TEXT_TOKENS, getattr(getattr(self, "tokenizer", None), "model_max_length", self.TEXT_TOKENS))

    @classmethod
    def from_pretrained(
        cls: type[PartsT],
        source: str,
        *,
        revision: str | None = None,
        variant: str | None = None,
        parts: Sequence[str] = PARTS,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        max_text_tokens: int | None = None,
    ) -> PartsT:
        """Frozen generator with the named parts of a folder in the hub's layout, or of a hub id.

        ``max_text_tokens`` is the padded length of a prompt; None: as published, or that of the tokenizer where it is shorter.
        """
        if unknown := sorted(set(parts) - set(PARTS)):
            raise ValueError(f"unknown parts {unknown}; allowed: {', '.join(PARTS)}")
        folder = HubFolder(source, revision, variant, dtype)
        generator = cls._load(folder, parts, max_text_tokens)
        return generator.requires_grad_(False).eval().to(device)

    @classmethod
    def _load(cls: type[PartsT], folder: HubFolder, parts: Sequence[str], max_text_tokens: int | None) -> PartsT:
        """The generator with the named parts of ``folder``, each from the subfolder of its name."""
        wanted = dict.fromkeys(name for part in parts for name in cls.ATTRIBUTES[part])
        loaded = {name: folder.part(name, cls.CLASSES.get(name, ())) for name in wanted}
        return cls(max_text_tokens=max_text_tokens, **loaded)

    @property
    def denoiser(self) -> Any:
        """The denoising network."""
        return self._part(self.ATTRIBUTES["denoiser"][0])

    def save_memory(self) -> None:
        """Encode and decode in tiles (another result at their borders) and clip by clip, for small GPUs."""
        vae = self._part("vae")
        for setting in ("enable_tiling", "enable_slicing"):
            if hasattr(vae, setting):
                getattr(vae, setting)()

    def checkpoint_gradients(self, denoiser: bool = True) -> None:
        """Keep little for backward passes and run the video decoder's blocks again, and the denoiser's unless it is left out.

        Less memory, more time.
        """
        for part in ("denoiser", "vae") if denoiser else ("vae",):
            network: Any = getattr(self, self.ATTRIBUTES[part][0])
            # diffusers' own mark; other networks are left as they are.
            if getattr(network, "_supports_gradient_checkpointing", False):
                network.enable_gradient_checkpointing()

    def stream_denoiser(self, device: torch.device) -> None:
        """Keep the denoiser in host memory and bring its blocks to ``device`` one after the other while it runs."""
        self.denoiser.to("cpu")
        self.denoiser.enable_group_offload(
            onload_device=device,
            offload_device=torch.device("cpu"),
            offload_type="block_level",
            num_blocks_per_group=1,
            use_stream=device.type == "cuda",
        )

    def accelerate(self, mode: str | None = None) -> None:
        """Trade a wait at the first call for speed: for inference only (see ``merge_lora`` for adapters).

        The repeated blocks of the denoiser are compiled, one for all (``mode`` is that of ``torch.compile``; a denoiser without
        such blocks is compiled whole), and the autoencoder's weights laid out for tensor cores. Results change by rounding only.
        """
        self._compile(mode, None)

    def compile_for_training(self) -> None:
        """The part of :meth:`accelerate` that leaves adapters in place and lets gradients through; code per batch size."""
        self._compile(None, False)

    def _compile(self, mode: str | None, dynamic: bool | None) -> None:
        # diffusers names the class that repeats; its blocks share the compiled code.
        if self._has("denoiser") and getattr(self.denoiser, "_repeated_blocks", None):
            self.denoiser.compile_repeated_blocks(fullgraph=True, mode=mode, dynamic=dynamic)
        elif self._has("denoiser"):
            self.denoiser.compile(mode=mode, dynamic=dynamic)
        if self._has("vae"):
            channels_last(self._part("vae"))

    def release(self, *parts: str) -> None:
        """Forget these parts, so that their memory can be used by others."""
        for part in parts:
            for name in self.ATTRIBUTES[part]:
                setattr(self, name, None)

    def place(self, part: str, device: torch.device | str) -> None:
        """Move the networks of one part to a device."""
        for name in self.ATTRIBUTES[part]:
            # Tokenizers and schedulers are no modules, and on no device.
            if isinstance(module := getattr(self, name), nn.Module):
                module.to(device)

    def _has(self, part: str) -> bool:
        return getattr(self, self.ATTRIBUTES[part][0]) is not None

    def _part(self, name: str) -> Any:
        part = getattr(self, name)
        if part is None:
            raise RuntimeError(f"this generator was loaded without its {name}")
        return part

"""Weights of a 3D network in files: our own folders, published checkpoints, narrower matrices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor, nn

from vist3a.networks.base import ReconstructionModel
from vist3a.networks.blocks.config import NetworkConfig
from vist3a.runtime.memory_layout import channels_last
from vist3a.weights.weight_files import WEIGHTS, load_strictly, read_config, read_tensors, save_folder

ConfigT = TypeVar("ConfigT", bound=NetworkConfig)
NetworkT = TypeVar("NetworkT", bound="CheckpointedNetwork[Any]")


class CheckpointedNetwork(ReconstructionModel, Generic[ConfigT]):
    """A network that a configuration builds, and its checkpoints."""

    config_class: ClassVar[type[NetworkConfig]]
    published: ClassVar[Mapping[str, NetworkConfig]] = MappingProxyType({})
    """Sizes of the published checkpoints by the name that ``weights.yml`` calls them."""
    public_prefix: ClassVar[str] = ""
    """What published state dicts put before every key."""
    ignored_public_prefixes: ClassVar[tuple[str, ...]] = ()
    """Keys of published state dicts, without their prefix, whose layers are not built."""
    trunk_parts: ClassVar[tuple[str, ...]]
    """Fields that hold the blocks and what embeds their tokens, but no head."""
    config: ConfigT

    def __init__(self, config: ConfigT) -> None:
        """``config`` fixes every size."""
        super().__init__()
        self.config = config
        self.entry: str | None = None
        """The point before which parameters were dropped."""

    def mixed_precision(self: NetworkT, dtype: torch.dtype = torch.bfloat16) -> NetworkT:
        """Keep the matrices of the trunk in ``dtype`` and multiply in it; everything else stays as it is, heads too.

        The tokens that blocks hand on, norms, rotations and layer scales keep the float32 of the other parameters. This
        rounds where autocast rounds, without a second copy of the matrices and without casting them in every pass.
        """
        for part in self._trunk():
            if isinstance(part, nn.Linear | nn.Conv2d):
                part.to(dtype)
        return self

    def compile_blocks(self, **options: Any) -> None:
        """Let ``torch.compile``, given ``options``, compile the trunk's blocks and what embeds their frames, at their first use.

        These are the modules with ``compiled_alone``. No key changes.
        Blocks of one kind share what is compiled; without gradients those of a DINOv2 encoder are compiled four at a time.
        Other numbers of views or other sizes of frames compile anew.
        """
        for part in self._trunk():
            if getattr(part, "compiled_alone", False):
                part.compile(**options)

    def accelerate(self) -> None:
        """See :meth:`ReconstructionModel.accelerate`."""
        self.compile_blocks(dynamic=False)
        channels_last(self)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write ``config.json`` and ``model.safetensors`` into ``folder``."""
        header: dict[str, Any] = {"network": type(self).__name__, "entry": self.entry, "config": self.config.to_dict()}
        save_folder(Path(folder), header | self._entry_options(), self.state_dict())

    @classmethod
    def from_pretrained(cls: type[NetworkT], folder: str | Path, dtype: torch.dtype = torch.float32) -> NetworkT:
        """Load a folder written by :meth:`save_pretrained`, on the CPU, in ``dtype``."""
        header = read_config(Path(folder))
        if "network" not in header:
            raise ValueError(
                f"{folder}: its config.json is not ours (no key network); of published weights, name the file of tensors and "
                "its config (networks.reconstruction)"
            )
        if header["network"] != cls.__name__:
            raise ValueError(f"{folder} holds a {header['network']}, not a {cls.__name__}")
        # On the meta device nothing is allocated: the tensors of the file take the parameters' places.
        with torch.device("meta"):
            model = cls(cls.config_class.from_dict(header["config"]))
        # The file lacks what was dropped, so the same is dropped here before it is read.
        if header["entry"] is not None:
            options = {key: value for key, value in header.items() if key not in ("network", "entry", "config")}
            model.drop_before(header["entry"], **options)
        weights = Path(folder) / WEIGHTS
        load_strictly(model, read_tensors(weights), weights, assign=True)
        return model.to(dtype).eval()

    @classmethod
    def from_public_file(
        cls: type[NetworkT], path: str | Path, config: ConfigT, dtype: torch.dtype = torch.float32
    ) -> NetworkT:
        """Load a published checkpoint of a network with the sizes ``config``, on the CPU, in ``dtype``."""
        state = read_tensors(Path(path))
        # As above: nothing is allocated, as the file's tensors are taken over.
        with torch.device("meta"):
            model = cls(cls.sized_for(config, state))
        model.load_public_state_dict(state, path, assign=True)
        return model.to(dtype).eval()

    @classmethod
    def sized_for(cls, config: ConfigT, state: Mapping[str, Tensor]) -> ConfigT:
        """``config`` with what checkpoints of one size may differ in as the published ``state`` has it; here: nothing."""
        return config

    def load_public_state_dict(
        self, state: Mapping[str, Tensor], origin: str | Path = "state dict", *, assign: bool = False
    ) -> None:
        """Load published weights: their prefix stripped, parts not built here ignored, the rest must fit.

        ``origin`` is what errors call them; ``assign`` takes the tensors themselves instead of copying their values.
        """
        stripped = {key.removeprefix(self.public_prefix): value for key, value in state.items()}
        ignored = self.ignored_public_prefixes
        kept = {key: value for key, value in stripped.items() if not key.startswith(ignored)}
        load_strictly(self, kept, origin, assign=assign)

    def _trunk(self) -> Iterator[nn.Module]:
        parts = (getattr(self, name) for name in self.trunk_parts)
        return (module for part in parts if part is not None for module in part.modules())

    def _entry_options(self) -> dict[str, Any]:
        """Options that ``drop_before`` was called with, where they matter for the layout of the weights."""
        return {}

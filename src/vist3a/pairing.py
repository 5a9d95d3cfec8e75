"""The one place that turns a family name and a source into a network. Everything else sees the contracts only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from vist3a.generators.base import VideoGenerator
from vist3a.networks.base import ReconstructionModel
from vist3a.networks.blocks.config import NetworkConfig
from vist3a.networks.blocks.enterable import EnterableNetwork
from vist3a.weights.public import PublicGenerator, PublicWeights, locate, use_licence
from vist3a.weights.weight_files import CONFIG

GENERATORS = ("wan", "cogvideox", "hunyuan_video", "svd")
RECONSTRUCTION_NETWORKS = ("vggt", "anysplat", "depth_anything3", "mvdust3r")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_generator(
    family: str,
    source: str,
    *,
    revision: str | None,
    parts: Sequence[str],
    dtype: str,
    device: torch.device,
    max_text_tokens: int | None = None,
    variant: str | None = None,
    size: tuple[int, int] | None = None,
    public: Mapping[str, PublicGenerator] = MappingProxyType({}),
) -> VideoGenerator:
    """Frozen generator with the named parts (``vae``, ``tokenizer``, ``text``, ``denoiser``).

    ``source`` is a folder in diffusers' layout, or a name of ``public`` generators, or a hub id; the licence of what is not a
    folder is told before anything is downloaded. ``revision`` and ``variant`` replace those of a named one.
    ``max_text_tokens`` is the padded prompt length (None: as published); ``size`` (height, width) is what frames are
    resized to before they are encoded.
    """
    generator_class = _generator_class(family)
    place, own_revision, own_variant = generator_place(source, public)
    generator = generator_class.from_pretrained(
        place,
        revision=revision or own_revision,
        variant=variant or own_variant,
        parts=parts,
        dtype=DTYPES[dtype],
        device=device,
        max_text_tokens=max_text_tokens,
    )
    generator.input_size = size
    return generator


def generator_place(
    source: str, public: Mapping[str, PublicGenerator] = MappingProxyType({})
) -> tuple[str, str | None, str | None]:
    """The folder or hub id that ``source`` means, its revision and variant; the licence of public weights is told."""
    if Path(source).expanduser().is_dir():
        return str(Path(source).expanduser()), None, None
    if Path(source).expanduser().is_file():
        raise ValueError(
            f"networks.generator.source: {source} is a file; allowed: a folder in diffusers' layout, an entry under generators "
            "of weights.yml, or a hub id"
        )
    if source not in public:
        if source.count("/") != 1:
            raise FileNotFoundError(
                f"networks.generator.source: {source} is no folder (for the embedded networks: `dvc pull`, or `kedro run "
                f"--pipeline=pretrain`), no hub id (owner/name), and no entry under generators of weights.yml; entries: "
                f"{', '.join(public) or 'none'}"
            )
        use_licence(source, f"not known (see https://huggingface.co/{source})", commercial=None)
        return source, None, None
    named = public[source]
    use_licence(source, named.licence, named.commercial)
    if named.path is not None:
        if not Path(named.path).expanduser().is_dir():
            raise FileNotFoundError(
                f"weights.yml: generators: {source}: path {named.path} is no folder; allowed: a copy of {named.repo}, or null to "
                "use the hub"
            )
        return str(Path(named.path).expanduser()), None, named.variant
    return named.repo, named.revision, named.variant


def takes_text(family: str) -> bool:
    """Whether generators of a family are told a text (else: a first frame)."""
    return _generator_class(family).takes_text


def published_configs() -> dict[str, tuple[str, NetworkConfig]]:
    """Sizes of the published reconstruction networks by name: the family and the config that it is built with."""
    from vist3a.networks import ANYSPLAT, MVDUST3R, MVDUST3R_PLUS, VGGT_1B, VGGT_1B_TRACKER
    from vist3a.networks.depth_anything3 import DA3_BASE, DA3_GIANT, DA3_LARGE, DA3_SMALL

    return {
        "vggt-1b": ("vggt", VGGT_1B),
        "vggt-1b-tracker": ("vggt", VGGT_1B_TRACKER),
        "anysplat": ("anysplat", ANYSPLAT),
        "da3-small": ("depth_anything3", DA3_SMALL),
        "da3-base": ("depth_anything3", DA3_BASE),
        "da3-large": ("depth_anything3", DA3_LARGE),
        "da3-giant": ("depth_anything3", DA3_GIANT),
        "mvdust3r": ("mvdust3r", MVDUST3R),
        "mvdust3r-plus": ("mvdust3r", MVDUST3R_PLUS),
    }


def build_reconstruction(family: str, config: NetworkConfig, device: torch.device) -> EnterableNetwork[Any]:
    """A reconstruction network with random weights, made on ``device``."""
    with device:
        return _reconstruction_class(family)(config).requires_grad_(False).eval()


def load_reconstruction(
    family: str,
    source: str,
    *,
    dtype: str,
    device: torch.device,
    config: str | None = None,
    compile: bool = False,
    size: tuple[int, int] | None = None,
    public: Mapping[str, PublicWeights] = MappingProxyType({}),
) -> ReconstructionModel:
    """Frozen reconstruction network, its blocks compiled at first use if ``compile``.

    ``dtype`` other than float32 is that of the trunk's matrix products; all else is float32 (``mixed_precision``).
    ``source`` is a folder in our layout (config.json, model.safetensors), or a name of ``public`` weights, or a published
    checkpoint file; the last needs the name of its ``config`` (see :func:`published_configs`). ``size``
    (height, width) is what frames are resized to before the network sees them.
    """
    if family not in RECONSTRUCTION_NETWORKS:
        allowed = ", ".join(RECONSTRUCTION_NETWORKS)
        raise ValueError(f"networks.reconstruction.family: {family!r}; allowed: {allowed}")
    network_class, path = _reconstruction_class(family), Path(source).expanduser()
    if not path.is_file() and config is not None:
        raise ValueError(
            f"networks.reconstruction.config: {config!r} for {source}, which is no checkpoint file; allowed: null (folders and "
            "named weights have their own)"
        )
    if (path / CONFIG).is_file():
        network = network_class.from_pretrained(path)
    elif path.is_file():
        sizes = _published_config(family, config, f"networks.reconstruction.config of {source}")
        use_licence(path.name, "not known (a file given by its path)", commercial=None)
        network = network_class.from_public_file(path, sizes)
    elif source in public:
        weights = public[source]
        sizes = _published_config(family, weights.config, f"weights.yml: {source}: config")
        use_licence(source, weights.licence, weights.commercial)
        network = network_class.from_public_file(locate(weights), sizes)
    else:
        raise FileNotFoundError(
            f"networks.reconstruction.source: {source} is no folder with {CONFIG} (for the embedded networks: `dvc pull`, or "
            "`kedro run --pipeline=pretrain`), no checkpoint file, and no entry of weights.yml; entries: "
            f"{', '.join(public) or 'none'}"
        )
    network.input_size = size
    if compile:
        network.compile_blocks()
    return network.mixed_precision(DTYPES[dtype]).requires_grad_(False).eval().to(device)


def _generator_class(family: str) -> type[VideoGenerator]:
    if family == "wan":
        from vist3a.generators.wan import WanGenerator

        return WanGenerator
    if family == "cogvideox":
        from vist3a.generators.cogvideox import CogVideoXGenerator

        return CogVideoXGenerator
    if family == "hunyuan_video":
        from vist3a.generators.hunyuan_video import HunyuanVideoGenerator

        return HunyuanVideoGenerator
    if family == "svd":
        from vist3a.generators.svd import SVDGenerator

        return SVDGenerator
    raise ValueError(f"networks.generator.family: {family!r}; allowed: {', '.join(GENERATORS)}")


def _reconstruction_class(family: str) -> type[EnterableNetwork[Any]]:
    from vist3a.networks import VGGT, AnySplat, MVDust3r
    from vist3a.networks.depth_anything3 import DepthAnything3

    classes: dict[str, type[EnterableNetwork[Any]]] = dict(
        zip(RECONSTRUCTION_NETWORKS, (VGGT, AnySplat, DepthAnything3, MVDust3r), strict=True)
    )
    return classes[family]


def _published_config(family: str, name: str | None, where: str) -> NetworkConfig:
    known = published_configs()
    if name not in known or known[name][0] != family:
        own = f"family {known[name][0]}" if name in known else repr(name)
        allowed = ", ".join(name for name, (of, _) in known.items() if of == family)
        raise ValueError(f"{where}: {own}; allowed for family {family}: {allowed}")
    return known[name][1]

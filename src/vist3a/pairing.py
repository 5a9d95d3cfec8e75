"""The one place that turns a family name and a source into a network. Everything else sees the contracts only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from vist3a import registry
from vist3a.generators.base import VideoGenerator
from vist3a.generators.published import PublishedSizes
from vist3a.networks.base import ReconstructionModel
from vist3a.networks.blocks.config import NetworkConfig
from vist3a.networks.template import EnterableNetwork
from vist3a.weights.known import KnownWeights
from vist3a.weights.public import PublicGenerator, PublicWeights, is_hub_id, locate, use_licence
from vist3a.weights.weight_files import CONFIG

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_generator(
    family: str,
    source: str,
    *,
    revision: str | None = None,
    parts: Sequence[str],
    dtype: str = "float32",
    device: torch.device | str = "cpu",
    max_text_tokens: int | None = None,
    variant: str | None = None,
    size: tuple[int, int] | None = None,
    public: Mapping[str, PublicGenerator] | None = None,
) -> VideoGenerator:
    """Frozen generator with the named parts (``vae``, ``tokenizer``, ``text``, ``denoiser``).

    ``source`` is a folder in diffusers' layout, or a name of ``public`` generators (None: those of
    ``weights.yml``), or a hub id; the licence of what is not a
    folder is told before anything is downloaded. ``revision`` and ``variant`` replace those of a named one.
    ``max_text_tokens`` is the padded prompt length (None: as published); ``size`` (height, width) is what frames are
    resized to before they are encoded.
    """
    generator_class: type[VideoGenerator] = registry.find("generators", family, "networks.generator.family")
    place, own_revision, own_variant = generator_place(source, public)
    generator = generator_class.from_pretrained(
        place,
        revision=revision or own_revision,
        variant=variant or own_variant,
        parts=parts,
        dtype=DTYPES[dtype],
        device=torch.device(device),
        max_text_tokens=max_text_tokens,
    )
    generator.input_size = size
    return generator


def generator_place(
    source: str, public: Mapping[str, PublicGenerator] | None = None
) -> tuple[str, str | None, str | None]:
    """The folder or hub id that ``source`` means, its revision and variant; the licence of public weights is told."""
    public = KnownWeights.read().generators if public is None else public
    if Path(source).expanduser().is_dir():
        return str(Path(source).expanduser()), None, None
    if Path(source).expanduser().is_file():
        raise ValueError(
            f"networks.generator.source: {source} is a file; allowed: a folder in diffusers' layout, an entry under generators "
            "of weights.yml, or a hub id"
        )
    if source not in public:
        if not is_hub_id(source):
            raise FileNotFoundError(
                f"networks.generator.source: {source} is no folder (for the embedded networks: `dvc pull`, or `kedro run "
                f"--pipelines=pretrain`), no hub id (owner/name), and no entry under generators of weights.yml; entries: "
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
    generator_class: type[VideoGenerator] = registry.find("generators", family)
    return generator_class.takes_text


def denoiser_folder(family: str) -> str:
    """Folder of the denoiser in the repositories of a family, as ``transformer``."""
    generator_class: type[VideoGenerator] = registry.find("generators", family)
    return generator_class.ATTRIBUTES["denoiser"][0]


def published_generators(family: str) -> PublishedSizes:
    """Sizes of the published generators of a family, by name; none where its class states none."""
    generator_class: type[VideoGenerator] = registry.find("generators", family, "networks.generator.family")
    return generator_class.published


def published_networks(family: str) -> Mapping[str, NetworkConfig]:
    """Sizes of the published 3D networks of a family, by name; none where its class states none."""
    network_class: type[EnterableNetwork[Any]] = registry.find("networks", family, "networks.reconstruction.family")
    return network_class.published


def published_configs() -> dict[str, tuple[str, NetworkConfig]]:
    """Sizes of all published 3D networks with a name in the registry: the family and the config that it is built with."""
    families = {family: registry.find("networks", family) for family in registry.names("networks")}
    return {name: (family, config) for family, kind in families.items() for name, config in kind.published.items()}


def build_reconstruction(family: str, config: NetworkConfig, device: torch.device) -> EnterableNetwork[Any]:
    """A reconstruction network with random weights, made on ``device``."""
    # Made on the device, not moved there: a large network need not fit into host memory.
    with device:
        network_class: type[EnterableNetwork[Any]] = registry.find("networks", family)
        return network_class(config).requires_grad_(False).eval()


def load_reconstruction(
    family: str,
    source: str,
    *,
    dtype: str = "float32",
    device: torch.device | str = "cpu",
    config: str | None = None,
    compile: bool = False,
    size: tuple[int, int] | None = None,
    public: Mapping[str, PublicWeights] | None = None,
) -> ReconstructionModel:
    """Frozen reconstruction network, its blocks compiled at first use if ``compile``.

    ``dtype`` other than float32 is that of the trunk's matrix products; all else is float32 (``mixed_precision``).
    ``source`` is a folder in our layout (config.json, model.safetensors), or a name of ``public`` weights (None: those of
    ``weights.yml``), or a published checkpoint file; the last needs the name of its ``config`` (see
    :func:`published_configs`). ``size`` (height, width) is what frames are resized to before the network sees them.
    """
    network_class: type[EnterableNetwork[Any]] = registry.find("networks", family, "networks.reconstruction.family")
    public = KnownWeights.read().networks if public is None else public
    path = Path(source).expanduser()
    if not path.is_file() and config is not None:
        raise ValueError(
            f"networks.reconstruction.config: {config!r} for {source}, which is no checkpoint file; allowed: null (folders and "
            "named weights have their own)"
        )
    # Folders of ours say their own sizes; a published file has none, so that its config has to be named.
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
        raise _no_network(source, public)
    network.input_size = size
    # Only marked here: compiled at the first call, with the types and on the device that follow.
    if compile:
        network.compile_blocks()
    return network.mixed_precision(DTYPES[dtype]).requires_grad_(False).eval().to(device)


def check_sources(
    generator: str, network: str, generators: Mapping[str, PublicGenerator], networks: Mapping[str, PublicWeights]
) -> None:
    """Whether anything stands behind the sources of a pairing, as far as that can be told without loading.

    Raises:
        FileNotFoundError: A source is no folder or file that is there, and no name of published weights.
    """
    # Whether a hub has the id is not asked here, which would need a network.
    known = generator in generators or is_hub_id(generator)
    if not known and not Path(generator).expanduser().is_dir():
        generator_place(generator, generators)  # which says what is wrong
    if network not in networks and not Path(network).expanduser().exists():
        raise _no_network(network, networks)


def _no_network(source: str, public: Mapping[str, PublicWeights]) -> FileNotFoundError:
    return FileNotFoundError(
        f"networks.reconstruction.source: {source} is no folder with {CONFIG} (for the embedded networks: `dvc pull`, or "
        "`kedro run --pipelines=pretrain`), no checkpoint file, and no entry of weights.yml; entries: "
        f"{', '.join(public) or 'none'}"
    )


def _published_config(family: str, name: str | None, where: str) -> NetworkConfig:
    own = published_networks(family)
    if name is None or name not in own:
        # A name of another family is the likely slip, and worth its own words.
        others = published_configs()
        said = f"family {others[name][0]}" if name in others else repr(name)
        raise ValueError(f"{where}: {said}; allowed for family {family}: {', '.join(own) or 'none'}")
    return own[name]

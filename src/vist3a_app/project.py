"""A project from Python: its networks, loaded and ready for prompts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vist3a.generation.text_to_3d import TextTo3D
from vist3a_app.configuration import PAIR, PRESET, LayeredConfigLoader
from vist3a_app.pipelines.generate.bundle import PARAMETERS, is_bundle, load_bundle, read_artifact
from vist3a_app.pipelines.generate.loading import load_text_to_3d
from vist3a_app.pipelines.generate.params import GenerateParams
from vist3a_app.pipelines.networks import Networks
from vist3a_app.settings import CONFIG_LOADER_ARGS


def load(
    project: Path | str = ".",
    *,
    pair: str | None = None,
    preset: str | None = None,
    env: str | None = None,
    parameters: Mapping[str, Mapping[str, Any]] | None = None,
) -> TextTo3D:
    """See :func:`vist3a.project.load`, which calls this."""
    root = Path(project).resolve()
    if is_bundle(root):
        return _load_bundle(root, {PAIR: pair, PRESET: preset, "env": env}, parameters)
    if not (root / "conf" / "base").is_dir():
        raise FileNotFoundError(
            f"{root} is no vist3a project: it has no conf/base (and no bundle of one: no {PARAMETERS})"
        )
    given: dict[str, Any] = {group: dict(values) for group, values in (parameters or {}).items()}
    layers = {name: value for name, value in ((PAIR, pair), (PRESET, preset)) if value is not None}
    loader = LayeredConfigLoader(str(root / "conf"), env=env, runtime_params=given | layers, **CONFIG_LOADER_ARGS)
    groups = loader["parameters"]
    # What is given joins what is configured, so the files alone say which groups there are.
    known = LayeredConfigLoader(str(root / "conf"), env=env, **CONFIG_LOADER_ARGS)["parameters"]
    unknown = sorted(given.keys() - known.keys())
    if unknown:
        raise ValueError(f"unknown parameter group {unknown[0]!r}; allowed: {', '.join(sorted(known))}")
    # The catalog is relative to the project, the caller may be anywhere.
    folders = {name: root / loader["catalog"][name]["filepath"] for name in ("stitched_decoder", "aligned_generator")}
    params = GenerateParams(**groups["generate"])
    networks = networks_inside(root, Networks(**groups["networks"]))
    # Of public networks the weights come first: there may be none here, and then no decoder could have been made.
    here = all(Path(source).exists() for source in (networks.generator.source, networks.reconstruction.source))
    for name, folder in folders.items():
        if here and not folder.is_dir() and (params.aligned or name != "aligned_generator"):
            raise FileNotFoundError(f"{folder} is missing; `make stitch` in {root} makes it")
    return load_text_to_3d(
        params.model_copy(
            update={name: _inside(root, getattr(params, name)) for name in ("adapter", "released_decoder", "scorer")}
        ),
        networks,
        folders["stitched_decoder"],
        folders["aligned_generator"],
    )


def _load_bundle(
    folder: Path, layers: Mapping[str, str | None], parameters: Mapping[str, Mapping[str, Any]] | None
) -> TextTo3D:
    """A bundle is one pairing with its settings: what chooses others is refused."""
    if chosen := [f"{name}={value}" for name, value in layers.items() if value is not None]:
        made = read_artifact(folder)
        of = "" if made is None else f" of {made.pairing.generator} and {made.pairing.network}"
        raise ValueError(f"{', '.join(chosen)}: {folder} is a bundle{of}; allowed: parameters of generate and networks")
    return load_bundle(folder, parameters)


def networks_inside(root: Path, networks: Networks) -> Networks:
    """The same networks with folders relative to ``root`` made absolute."""
    generator, reconstruction = networks.generator, networks.reconstruction
    return networks.model_copy(
        update={
            "generator": generator.model_copy(update={"source": _inside(root, generator.source)}),
            "reconstruction": reconstruction.model_copy(update={"source": _inside(root, reconstruction.source)}),
        }
    )


def _inside(root: Path, source: str | None) -> str | None:
    """A path below ``root`` where there is one; names of hubs and of weights.yml stay."""
    return str(root / source) if source is not None and (root / source).exists() else source

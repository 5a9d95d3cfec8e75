"""Loading the networks of a project for generation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vist3a.engine.device import resolve_device
from vist3a.engine.text_to_3d import TextTo3D
from vist3a.export.scene import ExportSettings
from vist3a.models.lora import load_lora
from vist3a.models.scorers import DualEncoder
from vist3a.pipelines.distill.params import DistillParams
from vist3a.pipelines.generate.params import GenerateParams
from vist3a.pipelines.networks import Networks
from vist3a.pipelines.stitched import load_decoder
from vist3a.rewards.embedded import reward_from
from vist3a.training.sampling import SamplingConfig

TERMS = ("text_decoded", "text_rendered", "consistency_l1", "consistency_perceptual")


def load_text_to_3d(
    params: GenerateParams, distill: DistillParams, networks: Networks, stitched_decoder: Path, aligned_generator: Path
) -> TextTo3D:
    """Generator (aligned, if the parameters say so), stitched decoder and, where named, the scorer."""
    device = resolve_device(networks.device)
    generator = networks.load_generator("vae", "text", "denoiser")
    if params.aligned:
        load_lora(generator.get_submodule("transformer"), aligned_generator)
    reward = None
    if params.scorer is not None:
        reward = reward_from(DualEncoder.from_pretrained(Path(params.scorer), device), dict.fromkeys(TERMS, 1.0))
    return TextTo3D(
        generator,
        load_decoder(networks, distill, stitched_decoder),
        device,
        SamplingConfig(params.steps, params.guidance, params.frames, params.height, params.width),
        params.seed,
        ExportSettings(
            params.smoothing,
            params.max_gaussians,
            params.min_opacity,
            params.voxel_size,
            params.drop_points,
            params.turntable_frames,
            params.turntable_size,
        ),
        reward,
    )


def load(
    project: Path | str = ".", *, env: str | None = None, parameters: Mapping[str, Mapping[str, Any]] | None = None
) -> TextTo3D:
    """Networks of the project at ``project`` after ``make stitch``, ready for prompts.

    Args:
        project: Folder with ``conf`` and ``data``; paths of the configuration are taken from there.
        env: Overlay in ``conf``, as ``kedro run --env``.
        parameters: Changes by group, as ``kedro run --params``: ``{"generate": {"steps": 12}, "networks": {"device": "cpu"}}``.

    Raises:
        FileNotFoundError: There is no such project, or its networks have not been made.
    """
    from kedro.config import OmegaConfigLoader

    from vist3a.settings import CONFIG_LOADER_ARGS

    root = Path(project).resolve()
    if not (root / "conf" / "base").is_dir():
        raise FileNotFoundError(f"{root} is no vist3a project: it has no conf/base")
    given = {group: dict(values) for group, values in (parameters or {}).items()}
    loader = OmegaConfigLoader(str(root / "conf"), env=env, runtime_params=given, **CONFIG_LOADER_ARGS)
    groups = loader["parameters"]
    unknown = sorted(given.keys() - groups.keys())
    if unknown:
        raise ValueError(f"unknown parameter group {unknown[0]!r}; allowed: {', '.join(sorted(groups))}")
    folders = {name: root / loader["catalog"][name]["filepath"] for name in ("stitched_decoder", "aligned_generator")}
    params = GenerateParams(**groups["generate"])
    for name, folder in folders.items():
        if not folder.is_dir() and (params.aligned or name != "aligned_generator"):
            raise FileNotFoundError(f"{folder} is missing; `make stitch` in {root} makes it")
    return load_text_to_3d(
        params.model_copy(update={"scorer": _inside(root, params.scorer)}),
        DistillParams(**groups["distill"]),
        networks_inside(root, Networks(**groups["networks"])),
        folders["stitched_decoder"],
        folders["aligned_generator"],
    )


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

"""A project of tiny random networks of the published classes, and the chain's pipelines on it."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import project_config
import torch
from kedro.config import OmegaConfigLoader
from kedro.io import DataCatalog, MemoryDataset
from kedro.runner import AbstractRunner, SequentialRunner
from kedro.validation.parameter_validator import ParameterValidator
from reconstruction_cases import build
from tiny_generators import FAMILIES, public_pipeline, tiny
from tiny_networks import WORDS

from vist3a_app.settings import CONFIG_LOADER_ARGS
from vist3a_lab.scorers import DualEncoder, DualEncoderConfig

REPOSITORY = Path(__file__).resolve().parents[1]
GENERATORS = {"wan": "wan", "wan14b": "wan", "cogvideox": "cogvideox", "hunyuan": "hunyuan_video", "svd": "svd"}
TEXT_TOKENS = {"wan": 8, "cogvideox": 8, "hunyuan_video": 16, "svd": None}
RECONSTRUCTIONS = {
    "anysplat": ("anysplat", "anysplat"),
    "vggt": ("vggt", "vggt"),
    "da3": ("depth_anything3", "da3-giant"),
    "mvdust3r": ("mvdust3r", "mvdust3r"),
}
LOOP = {"steps": 1, "learning_rate": 1.0e-4, "warmup": 1, "log_every": 1, "checkpoint_every": 1}
# Clips of 5 frames of 32 px; the 3D networks see 16 px. Latents 4x4, tokens 4x4.
SIZES = {"frames": 5, "height": 32, "width": 32}


def create(
    root: Path,
    families: Sequence[str] = FAMILIES,
    reconstructions: Iterable[tuple[str, str]] = RECONSTRUCTIONS.values(),
    clips: bool = True,
) -> None:
    """A project with the tiny networks in folders, and curated clips; ``root`` must be the working directory."""
    shutil.copytree(REPOSITORY / "conf", root / "conf")
    for seed, family in enumerate(families):
        public_pipeline(tiny(family, seed)).save_pretrained(root / "networks" / family)
    for name, kind in reconstructions:
        build(kind).float().save_pretrained(root / "networks" / name)
    torch.manual_seed(1)
    DualEncoder(DualEncoderConfig("conv", 8, 1, 1, WORDS, image_size=16, conv_channels=(8, 8))).save_pretrained(
        root / "networks" / "scorer"
    )
    if clips:
        run(root, "curate", {"curate": {**SIZES, "procedural": {"scenes": 4}}})


def run(root: Path, pipeline: str, values: dict[str, Any], runner: AbstractRunner | None = None) -> None:
    """As ``kedro run --env=smoke`` with these parameters; without a session, whose hooks the checks of shapes would disturb."""
    settings = {key: value for key, value in CONFIG_LOADER_ARGS.items() if key != "default_run_env"}
    loader = OmegaConfigLoader(
        str(root / "conf"), env="smoke", default_run_env="base", runtime_params=values, **settings
    )
    catalog = DataCatalog.from_config(loader["catalog"])
    pipelines = project_config.pipelines()
    for group, typed in ParameterValidator(pipelines).validate_raw_params(dict(loader["parameters"])).items():
        catalog[f"params:{group}"] = MemoryDataset(typed, copy_mode="assign")
    family = values.get("networks", {}).get("generator", {}).get("family", "wan")
    catalog["params:networks.generator.family"] = MemoryDataset(family)
    (runner or SequentialRunner()).run(pipelines[pipeline], catalog)


def chosen(root: Path, generator: str, reconstruction: str) -> dict[str, Any]:
    """Parameters that put the tiny networks of a pairing into the smoke environment."""
    family = GENERATORS[generator]
    return on_networks(root, family, root / "networks" / family, TEXT_TOKENS[family], reconstruction)


def on_networks(
    root: Path,
    family: str,
    source: Path,
    text_tokens: int | None,
    reconstruction: str,
    sizes: Mapping[str, int] = SIZES,
) -> dict[str, Any]:
    """Parameters for a generator of any family in a folder, and clips of ``sizes``."""
    network = RECONSTRUCTIONS[reconstruction][0]
    scorer = str(root / "networks" / "scorer")
    return {
        "networks": {
            "generator": {
                "family": family,
                "source": str(source),
                "max_text_tokens": text_tokens,
                "prompt_template": "a ball on {prompt}",
            },
            "reconstruction": {"family": network, "source": str(root / "networks" / network), "size": [16, 16]},
        },
        "extract": {"kernel": [3, 3, 3], "kinds": ["encoder"]},
        "score": {"functional_points": 1},
        "distill": {"tuning": "lora", "lora_rank": 2, "match": None, "features": [], "loop": LOOP},
        "align": {**sizes, "reward_scorer": scorer, "prompts": 1, "loop": LOOP, "denoising_steps": 2},
        "evaluate": {**sizes, "judge": scorer, "truth": None, "steps": 2, "prompts": 2},
        "generate": {**sizes, "scorer": None, "steps": 2, "turntable_frames": 2, "turntable_size": 16},
    }

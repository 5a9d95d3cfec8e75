"""The chain in the smoke environment for every pairing, on tiny random networks of the published classes."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import project_config
import pytest
import torch
from kedro.config import OmegaConfigLoader
from kedro.io import DataCatalog, MemoryDataset
from kedro.runner import SequentialRunner
from kedro.validation.parameter_validator import ParameterValidator
from reconstruction_cases import build
from released_checkpoint import published
from tiny_generators import FAMILIES, public_pipeline, tiny
from tiny_networks import WORDS

from vist3a.models.lora import add_lora, save_lora
from vist3a.models.scorers import DualEncoder, DualEncoderConfig
from vist3a.settings import CONFIG_LOADER_ARGS

REPOSITORY = Path(__file__).resolve().parents[2]
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


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project with the tiny networks in folders, and curated clips."""
    root = tmp_path_factory.mktemp("pairings")
    shutil.copytree(REPOSITORY / "conf", root / "conf")
    for seed, family in enumerate(FAMILIES):
        public_pipeline(tiny(family, seed)).save_pretrained(root / "networks" / family)
    for name, kind in RECONSTRUCTIONS.values():
        build(kind).float().save_pretrained(root / "networks" / name)
    torch.manual_seed(1)
    DualEncoder(DualEncoderConfig("conv", 8, 1, 1, WORDS, image_size=16, conv_channels=(8, 8))).save_pretrained(
        root / "networks" / "scorer"
    )
    before = Path.cwd()
    os.chdir(root)  # paths of the catalog start there
    run(root, "curate", {"curate": {**SIZES, "procedural": {"scenes": 4}}})
    yield root
    os.chdir(before)


def run(root: Path, pipeline: str, values: dict[str, Any]) -> None:
    """As ``kedro run --env=smoke`` with these parameters; without a session, whose hooks the checks of shapes would disturb."""
    settings = {key: value for key, value in CONFIG_LOADER_ARGS.items() if key != "default_run_env"}
    loader = OmegaConfigLoader(
        str(root / "conf"), env="smoke", default_run_env="base", runtime_params=values, **settings
    )
    catalog = DataCatalog.from_config(loader["catalog"])
    pipelines = project_config.pipelines()
    for group, typed in ParameterValidator(pipelines).validate_raw_params(dict(loader["parameters"])).items():
        catalog[f"params:{group}"] = MemoryDataset(typed, copy_mode="assign")
    SequentialRunner().run(pipelines[pipeline], catalog)


def chosen(root: Path, generator: str, reconstruction: str) -> dict[str, Any]:
    """Parameters that put the tiny networks of a pairing into the smoke environment."""
    family, (network, _) = GENERATORS[generator], RECONSTRUCTIONS[reconstruction]
    scorer = str(root / "networks" / "scorer")
    return {
        "networks": {
            "generator": {
                "family": family,
                "source": str(root / "networks" / family),
                "max_text_tokens": TEXT_TOKENS[family],
                "prompt_template": "a ball on {prompt}",
            },
            "reconstruction": {"family": network, "source": str(root / "networks" / network), "size": [16, 16]},
        },
        "extract": {"kernel": [3, 3, 3], "kinds": ["encoder"]},
        "score": {"functional_points": 1},
        "distill": {"tuning": "lora", "lora_rank": 2, "match": None, "features": [], "loop": LOOP},
        "align": {**SIZES, "reward_scorer": scorer, "prompts": 1, "loop": LOOP, "denoising_steps": 2},
        "evaluate": {**SIZES, "judge": scorer, "truth": None, "steps": 2, "prompts": 2},
        "generate": {**SIZES, "scorer": None, "steps": 2, "turntable_frames": 2, "turntable_size": 16},
    }


def report(root: Path, name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((root / "reports" / f"{name}.json").read_text())
    return content


@pytest.mark.parametrize("reconstruction", RECONSTRUCTIONS)
@pytest.mark.parametrize("generator", GENERATORS)
def test_stitch(project: Path, generator: str, reconstruction: str) -> None:
    values = chosen(project, generator, reconstruction)
    for pipeline in ("extract", "score", "distill"):
        run(project, pipeline, values)
    scores = report(project, "score")
    assert scores["points"][scores["chosen"]]["complete"]
    assert all(0 < value < 1e9 for value in report(project, "distill")["after"].values())
    if generator == "svd":
        with pytest.raises(ValueError, match=r"takes an image, not a text: give generate\.image"):
            run(project, "align", values)
        with pytest.raises(ValueError, match=r"takes an image, not a text: give generate\.image"):
            run(project, "generate", values)
        return
    run(project, "align", values)
    if reconstruction == "vggt":
        assert "reward/reprojection" in report(project, "align")["first"]
        assert "reward/text_decoded" not in report(project, "align")["first"]
        run(project, "evaluate", values)
        assert "reward/reprojection" in report(project, "evaluate")["generation"]
        run(project, "generate", values)
        return
    run(project, "evaluate", values)
    assert {"first", "last"} <= report(project, "align").keys()
    assert "judge/total" in report(project, "evaluate")["generation"]


@pytest.mark.parametrize(("generator", "reconstruction"), [("cogvideox", "mvdust3r"), ("svd", "vggt")])
def test_a_pairing_is_rehearsed(project: Path, generator: str, reconstruction: str) -> None:
    run(project, "rehearse", chosen(project, generator, reconstruction) | {"rehearse": {"steps": 2}})
    found = json.loads((project / "data/08_reporting/rehearsal.json").read_text())
    assert found["fits"]
    assert list(found["stages"]) == sorted(["embed", "extract", "score", "distill", "align", "generate"])
    left_out = found["stages"]["align"]["note"].startswith("left out")
    assert left_out == (generator == "svd")
    assert not (project / "data/02_intermediate/rehearsal").exists()


def test_published_files_make_a_scene(project: Path) -> None:
    """A PEFT adapter and a stitched decoder of the published layouts instead of what the chain made."""
    torch.save(published(build("anysplat"), first=2, rank=2, scale=0.01), project / "decoder.pth")
    generator = tiny("wan")
    add_lora(generator.denoiser, 2, 4.0, ["to_q", "to_out.0"], seed=1)
    save_lora(generator.denoiser, project / "lora_ema")
    values = chosen(project, "wan", "anysplat")
    values["generate"] |= {
        "adapter": str(project / "lora_ema"),
        "released_decoder": str(project / "decoder.pth"),
        "prompt": "a red cube",
    }
    run(project, "generate", values)
    assert (project / "data/07_model_output/generated/a-red-cube-0/gaussians.ply").is_file()


def test_an_image_becomes_a_scene(project: Path) -> None:
    from PIL import Image

    picture = Image.new("RGB", (50, 40))
    picture.putdata([(i % 256, i // 8 % 256, i // 3 % 256) for i in range(50 * 40)])
    picture.save(project / "kitchen.png")
    values = chosen(project, "svd", "anysplat")
    for pipeline in ("extract", "score", "distill"):
        run(project, pipeline, values)
    values["generate"] |= {"image": str(project / "kitchen.png"), "aligned": False}
    run(project, "generate", values)
    folder = project / "data" / "07_model_output" / "generated" / "kitchen-0"
    assert {"gaussians.ply", "points.ply", "transforms.json"} <= {path.name for path in folder.iterdir()}

"""The bundle that a registered generator is served from: a folder that knows itself and loads anywhere."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kedro.config import OmegaConfigLoader
from tiny_chain import chosen, create, run
from tiny_generators import public_pipeline, tiny

import vist3a
from vist3a_app.pipelines.generate.bundle import FILE, read_artifact, save_bundle
from vist3a_app.pipelines.generate.params import GenerateParams
from vist3a_app.pipelines.networks import Networks
from vist3a_app.settings import CONFIG_LOADER_ARGS

CPU: dict[str, dict[str, Any]] = {"networks": {"device": "cpu"}}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project of tiny networks after alignment, its scene of a prompt, and ``bundle`` beside its data."""
    root = tmp_path_factory.mktemp("bundled")
    before = Path.cwd()
    os.chdir(root)  # paths of the catalog start there
    create(root, ["wan"], [("anysplat", "anysplat")])
    values = chosen(root, "wan", "anysplat")
    values["generate"]["prompt"] = "a red ball"
    for pipeline in ("extract", "score", "distill", "align", "generate"):
        run(root, pipeline, values)
    groups = OmegaConfigLoader(str(root / "conf"), env="smoke", runtime_params=values, **CONFIG_LOADER_ARGS)[
        "parameters"
    ]
    (root / "bundle").mkdir()
    models = root / "data" / "06_models"
    save_bundle(
        root / "bundle",
        GenerateParams(**groups["generate"]),
        Networks(**groups["networks"]),
        models / "stitched_decoder",
        models / "aligned_generator",
    )
    yield root
    os.chdir(before)


@pytest.fixture
def bundle(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy elsewhere."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(made / "bundle", tmp_path / "moved"))


def test_it_makes_the_scene_of_the_pipeline_wherever_it_lies(made: Path, bundle: Path, tmp_path: Path) -> None:
    scene = vist3a.load(bundle, parameters=CPU).generate("a red ball")
    paths = scene.save(tmp_path)
    (pipelines,) = (made / "data/07_model_output/generated").iterdir()
    assert paths["gaussians"].read_bytes() == (pipelines / "gaussians.ply").read_bytes()
    artifact = read_artifact(bundle)
    assert artifact is not None and artifact.adapter is not None
    assert (artifact.pairing.generator.family, artifact.pairing.network.family) == ("wan", "anysplat")


def test_one_of_the_version_before_loads(bundle: Path) -> None:
    for file in (bundle / FILE, bundle / "aligned_generator" / "adapter.json"):
        file.unlink()
    assert vist3a.load(bundle, parameters=CPU).seed == 0


def other_denoiser(bundle: Path) -> None:
    public_pipeline(tiny("wan", 5)).transformer.save_pretrained(bundle / "networks" / "generator" / "transformer")


def other_adapter(bundle: Path) -> None:
    shutil.rmtree(bundle / "aligned_generator")


def other_decoder(bundle: Path) -> None:
    shutil.copy(bundle / "stitched_decoder" / "stitch.safetensors", bundle / "stitched_decoder" / "more.safetensors")


def newer(bundle: Path) -> None:
    (bundle / FILE).write_text(json.dumps(json.loads((bundle / FILE).read_text()) | {"format": 2}))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            other_denoiser,
            r"is a bundle for the denoiser wan .*, not for wan .*; allowed: the denoiser it was made with",
        ),
        (
            other_adapter,
            r"aligned_generator is not what the bundle was made with; allowed: the bundle as it was written",
        ),
        (other_decoder, r"stitched_decoder is not what the bundle was made with"),
        (newer, r"bundle\.json: format 2; allowed: 1"),
    ],
)
def test_other_networks_are_one_sentence(change: Callable[[Path], None], sentence: str, bundle: Path) -> None:
    change(bundle)
    with pytest.raises(ValueError, match=sentence) as refused:
        vist3a.load(bundle, parameters=CPU)
    assert "\n" not in str(refused.value)


def test_an_adapter_of_another_denoiser_is_refused_without_the_bundles_word(bundle: Path) -> None:
    """The adapter knows itself, too."""
    (bundle / FILE).unlink()
    other_denoiser(bundle)
    with pytest.raises(
        ValueError, match=r"aligned_generator is an adapter for the denoiser wan .*; allowed: .*--pipelines=align"
    ):
        vist3a.load(bundle, parameters=CPU)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {"pair": "wan+vggt"},
            r"pair=wan\+vggt: .* is a bundle of wan .* and anysplat .*; allowed: parameters of generate",
        ),
        ({"preset": "paper"}, "preset=paper: "),
        ({"env": "smoke"}, "env=smoke: "),
        (
            {"parameters": {"align": {"seed": 1}}},
            r"parameter group 'align' of .*; allowed for a bundle: generate, networks",
        ),
        ({"parameters": {"generate": {"stepps": 1}}}, "stepps"),
    ],
)
def test_what_a_bundle_has_not_is_refused(given: dict[str, Any], sentence: str, bundle: Path) -> None:
    with pytest.raises(ValueError, match=sentence):
        vist3a.load(bundle, **given)

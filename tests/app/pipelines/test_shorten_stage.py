"""The stage that makes a generator sample in few steps, on tiny networks; then alignment and generation with what it left."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from safetensors.torch import load_file
from tiny_chain import LOOP, RECONSTRUCTIONS, SIZES, chosen, create, run

from vist3a.adapters.artifact import read_artifact
from vist3a.shortening.artifact import read_shortened
from vist3a_app.pipelines.networks import Networks

FAMILIES = ("wan", "hunyuan_video", "cogvideox", "svd")
SHORTENED = Path("data/06_models/shortened_generator")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root, before = tmp_path_factory.mktemp("shorten"), Path.cwd()
    os.chdir(root)  # paths of the catalog start there
    create(root, FAMILIES, [RECONSTRUCTIONS["anysplat"]])
    yield root
    os.chdir(before)


def values_of(root: Path, generator: str, **shorten: Any) -> dict[str, Any]:
    values = chosen(root, generator, "anysplat")
    judge = {"judge": str(root / "networks" / "scorer")}
    targets = ["to_q", "to_v"]
    return values | {"shorten": {**SIZES, "comparison": judge, "lora_rank": 2, "lora_targets": targets, **shorten}}


def with_few_steps(values: dict[str, Any]) -> dict[str, Any]:
    """As --env=short says."""
    generator = {**values["networks"]["generator"], "shortened": str(SHORTENED)}
    align = {"variant": "all", "denoising_steps": 4, "guidance": 1.0, "regularizer": "distillation"}
    return values | {
        "networks": {**values["networks"], "generator": generator},
        "align": values["align"] | align,
        "generate": values["generate"] | {"steps": 4, "guidance": 1.0},
        "evaluate": values["evaluate"] | {"steps": 4, "guidance": 1.0},
    }


def test_it_leaves_a_generator_of_few_steps_and_says_how_they_compare(project: Path) -> None:
    run(project, "shorten", values_of(project, "hunyuan", guidance=5.0))
    told = read_shortened(SHORTENED)
    # Guidance that the denoiser is told of stays what it was.
    assert (told.counts, told.only_guidance) == ((1, 2, 4, 8), 5.0)
    report = json.loads(Path("data/08_reporting/shorten.json").read_text())
    assert report["comparison"].keys() == {"original", "1 steps", "2 steps", "4 steps", "8 steps"}
    few = report["comparison"]["4 steps"]
    assert {"judge", "rerender", "motion", "flicker", "latent_distance"} <= few.keys()
    assert few["rerender"]["before"] == pytest.approx(report["comparison"]["original"]["rerender"]["mean"])
    assert few["latent_distance"]["mean"] > 0
    table = pd.read_parquet("data/08_reporting/shorten.parquet")
    assert table["step"].tolist() == [1, 2, 3]
    assert not [name for name in table if name.startswith("seconds/")]
    # Nothing of the unfinished state is left.
    assert not [*Path("data").rglob("shorten-*/loop.pt")]


@pytest.mark.parametrize(
    ("generator", "sentence"), [("cogvideox", "CogVideoXGenerator"), ("svd", "SVDGenerator|not a text")]
)
def test_generators_that_follow_no_flow_are_refused(project: Path, generator: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        run(project, "shorten", values_of(project, generator))


def test_alignment_goes_through_all_of_its_steps_and_generation_uses_both(project: Path) -> None:
    values = values_of(project, "wan")
    for pipeline in ("extract", "score", "distill", "shorten"):
        run(project, pipeline, values)
    short = with_few_steps(values)
    run(project, "align", short)
    report = json.loads(Path("data/08_reporting/align.json").read_text())
    assert "distillation_loss" in report["last"] and "generative_loss" not in report["last"]
    # The adapter is of the shortened denoiser, and of no other.
    adapter = read_artifact(Path("data/06_models/aligned_generator"))
    assert adapter is not None
    assert adapter.aligned.denoiser.fingerprint.count("+") == 1
    run(project, "evaluate", short)
    run(project, "generate", {**short, "generate": short["generate"] | {"prompt": "a red ball"}})
    assert [*Path("data/07_model_output/generated").glob("a-red-ball*/gaussians.ply")]
    plain = {**values, "generate": values["generate"] | {"prompt": "a red ball", "steps": 4, "guidance": 1.0}}
    with pytest.raises(ValueError, match=r"is an adapter for the denoiser .* shortened .*, not for"):
        run(project, "generate", plain)
    with pytest.raises(
        ValueError, match=r"guidance 3, but this generator was shortened with its guidance inside; allowed: 1"
    ):
        run(project, "generate", {**short, "generate": short["generate"] | {"prompt": "the floor", "guidance": 3.0}})
    with pytest.raises(
        ValueError, match=r"networks\.generator\.shortened: .*what is shortened is the generator as it is"
    ):
        run(project, "shorten", short)


def test_a_loaded_generator_has_the_adapter_in_its_weights(project: Path) -> None:
    values = with_few_steps(values_of(project, "wan"))["networks"] | {"device": "cpu"}
    short = Networks(**values).load_generator("denoiser")
    plain = Networks(**{**values, "generator": {**values["generator"], "shortened": None}}).load_generator("denoiser")
    adapter = load_file(SHORTENED / "adapter_model.safetensors")
    place = "base_model.model.blocks.0.attn1.to_q"
    low = adapter[f"{place}.lora_B.weight"] @ adapter[f"{place}.lora_A.weight"]
    scale = json.loads((SHORTENED / "adapter_config.json").read_text())
    wanted = plain.denoiser.blocks[0].attn1.to_q.weight + low * scale["lora_alpha"] / scale["r"]
    assert float(low.abs().max()) > 0
    assert bool(((short.denoiser.blocks[0].attn1.to_q.weight - wanted).abs() < 1e-6).all())
    assert short.only_guidance == 1.0 and plain.only_guidance is None


def test_a_run_of_other_settings_starts_anew_and_one_of_the_same_is_told_nothing_new(project: Path) -> None:
    """Seeds and content alone count: a second run leaves equal bits."""
    values = values_of(project, "wan", loop={**LOOP, "steps": 2, "checkpoint_every": 2})
    made = []
    for _ in range(2):
        run(project, "shorten", values)
        made.append((SHORTENED / "adapter_model.safetensors").read_bytes())
    run(project, "shorten", values_of(project, "wan", loop={**LOOP, "steps": 2, "checkpoint_every": 2}, seed=5))
    assert made[0] == made[1] != (SHORTENED / "adapter_model.safetensors").read_bytes()

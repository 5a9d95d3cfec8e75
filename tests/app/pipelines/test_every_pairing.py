"""The chain in the smoke environment for every pairing, on tiny random networks of the published classes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from reconstruction_cases import build
from released_checkpoint import published
from tiny_chain import GENERATORS, RECONSTRUCTIONS, chosen, create, run
from tiny_generators import tiny

from vist3a.adapters.lora import add_lora, save_lora


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project with the tiny networks in folders, and curated clips."""
    root = tmp_path_factory.mktemp("pairings")
    before = Path.cwd()
    os.chdir(root)  # paths of the catalog start there
    create(root)
    yield root
    os.chdir(before)


def report(root: Path, name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((root / "data" / "08_reporting" / f"{name}.json").read_text())
    return content


# Every generator and every network once in each run, all twenty in the long tests.
ALWAYS = {("wan", "anysplat"), ("wan14b", "vggt"), ("cogvideox", "da3"), ("hunyuan", "mvdust3r"), ("svd", "vggt")}
PAIRS = [
    pytest.param(generator, network, marks=() if (generator, network) in ALWAYS else pytest.mark.long)
    for generator in GENERATORS
    for network in RECONSTRUCTIONS
]


@pytest.mark.parametrize(("generator", "reconstruction"), PAIRS)
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
        # Without Gaussians nothing is re-rendered; the rest is told.
        film = report(project, "evaluate")["film"]
        assert {"motion", "flicker", "diversity"} <= film.keys() and "rerender" not in film
        run(project, "generate", values)
        return
    run(project, "evaluate", values)
    assert {"first", "last"} <= report(project, "align").keys()
    assert "judge/total" in report(project, "evaluate")["generation"]
    film = report(project, "evaluate")["film"]
    assert {"rerender", "motion", "flicker", "diversity"} <= film.keys() and "motion" in film["statements"]


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

"""The example of a generator from outside: it keeps the contract, and goes through the chain by its place alone."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from ltx_video import EXAMPLE, PLACE, public_ltx, published_ltx, tiny_ltx
from tiny_chain import create, on_networks, run

from vist3a.generators.frame_rule import allowed_frames
from vist3a.testing.generator_checks import decoding
from vist3a.testing.generators import GeneratorCase, check_generator

SIZES = {"frames": 9, "height": 64, "width": 64}


def test_it_keeps_the_contract() -> None:
    check_generator(tiny_ltx, published_ltx)


def test_the_newer_decoder_is_told_that_no_noise_is_left() -> None:
    decoding(GeneratorCase(lambda: tiny_ltx(told_noise=True), published_ltx))


def test_its_entry_point_is_its_place_and_nothing_of_ours_names_it() -> None:
    declared = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]["entry-points"]
    assert declared == {"vist3a.generators": {"ltx_video": PLACE}}
    sources = (EXAMPLE.parents[1] / "src").rglob("*.py")
    assert not [
        str(p) for p in sources if "LTXVideoTransformer" in p.read_text() or "ltx_video_example" in p.read_text()
    ]


def test_its_frames_are_known_before_anything_is_loaded() -> None:
    assert [allowed_frames(PLACE)(frames) for frames in (1, 9, 13, 14)] == [1, 9, 9, 17]


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    before = Path.cwd()
    os.chdir(tmp_path)  # paths of the catalog start there
    create(tmp_path, families=(), reconstructions=[("vggt", "vggt")], clips=False)
    public_ltx(tiny_ltx()).save_pretrained(tmp_path / "networks" / "ltx")
    yield tmp_path
    os.chdir(before)


def test_it_is_stitched_aligned_and_judged(project: Path) -> None:
    values = on_networks(project, PLACE, project / "networks" / "ltx", 8, "vggt", SIZES)
    values["curate"] = {**SIZES, "procedural": {"scenes": 4}}
    values["distill"]["views"] = [9]
    with pytest.raises(
        ValueError, match=r"curate\.frames: 13 frames: generator ltx_video_example:LTX.* \(nearest: 9 or 17\)"
    ):
        run(project, "curate", {**values, "curate": {**values["curate"], "frames": 13}})
    run(project, "stitch", values)
    scores = json.loads((project / "data" / "08_reporting" / "score.json").read_text())
    assert scores["points"][scores["chosen"]]["complete"]
    for name in ("distill", "align", "evaluate"):
        assert (project / "data" / "08_reporting" / f"{name}.json").is_file()
    run(project, "generate", values)
    assert list((project / "data/07_model_output/generated").glob("*/points.ply"))

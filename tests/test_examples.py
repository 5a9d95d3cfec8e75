"""The packages under ``examples/``: known by their names once installed, and at work in tiny runs, with no edit elsewhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from example_packages import EXAMPLES, installed
from PIL import Image
from tiny_chain import SIZES, chosen, create, run

from vist3a.alignment.rewards.terms import renders, term_names, weighted_terms
from vist3a.data.clip_store import ClipStore
from vist3a.data.sources import scan
from vist3a.export.formats import check_formats
from vist3a.export.saved_scene import read_scene
from vist3a.geometry.projection import pixel_grid
from vist3a.geometry.projection import project as project_points
from vist3a.metrics.direction import load_metrics, more_is_better
from vist3a_app.cli import program
from vist3a_lab.claims.pooled import Pooled

TESTS = Path(__file__).resolve().parent
NAMES = ("equivariant_network", "reward_term", "metric", "exporter", "dataset_reader")
KNOWN = {
    "networks": "equivariant",
    "rewards": "moving_camera",
    "metrics": "relief",
    "exporters": "xyz",
    "readers": "csv_cameras",
}


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with installed(tmp_path_factory.mktemp("installed"), *NAMES):
        yield


@pytest.fixture(scope="module")
def project(examples: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project with a tiny generator and the example's network in folders, and curated clips."""
    from equivariant_network import EquivariantConfig, EquivariantNetwork

    root = tmp_path_factory.mktemp("examples")
    before = Path.cwd()
    os.chdir(root)
    create(root, families=("wan",), reconstructions=())
    torch.manual_seed(0)
    EquivariantNetwork(EquivariantConfig()).save_pretrained(root / "networks" / "equivariant")
    yield root
    os.chdir(before)


def test_names_come_and_go_with_the_packages(tmp_path: Path) -> None:
    program = f"""
import sys
from pathlib import Path
sys.path[:0] = [{str(TESTS)!r}]
from example_packages import installed
from vist3a import registry
known = {KNOWN!r}
with installed(Path({str(tmp_path)!r}), *{NAMES!r}):
    print(all(name in registry.names(kind) for kind, name in known.items()))
print(any(name in registry.names(kind) for kind, name in known.items()))
"""
    # In a process of its own: other tests here have them installed for longer.
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout.split() == ["True", "False"]


def values(project: Path) -> dict[str, Any]:
    found = chosen(project, "wan", "vggt")
    source = {"family": "equivariant", "source": str(project / "networks" / "equivariant"), "size": [16, 16]}
    found["networks"]["reconstruction"] = source
    found["extract"]["kinds"] = ["encoder", "decoder"]
    found["align"]["geometry_rewards"] = {"reprojection": 1.0, "camera_smoothness": None, "moving_camera": 0.5}
    found["evaluate"]["metrics"] = ["relief"]
    found["generate"]["formats"] = ["xyz"]
    return found


def report(project: Path, name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((project / "data" / "08_reporting" / f"{name}.json").read_text())
    return content


def test_the_chain_runs_with_parts_from_outside(project: Path) -> None:
    given = values(project)
    for pipeline in ("extract", "score", "distill", "align", "evaluate", "generate"):
        run(project, pipeline, given)
    points = report(project, "score")["points"]
    assert {point["kind"] for point in points.values()} == {"encoder", "decoder"}
    assert [name for name, point in points.items() if not point["complete"]] == ["decoder.03"]
    assert {"reward/moving_camera", "reward/reprojection"} <= report(project, "align")["first"].keys()
    generation = report(project, "evaluate")["generation"]
    assert {"reward/moving_camera", "metric/relief"} <= generation.keys()
    (scene,) = (project / "data/07_model_output/generated").iterdir()
    lines = (scene / "points.xyz").read_text().splitlines()
    assert len(lines) == SIZES["frames"] * 16 * 16 and all(len(line.split()) == 6 for line in lines)


def test_kinds_of_points_are_the_networks_own(project: Path) -> None:
    given = values(project)
    given["extract"]["kinds"] = ["encoder", "aggregator"]
    with pytest.raises(
        ValueError, match=r"^extract\.kinds: aggregator; allowed for EquivariantNetwork: encoder, decoder$"
    ):
        run(project, "extract", given)


def test_a_reward_from_outside_is_a_term(examples: None) -> None:
    assert "moving_camera" in term_names(("text",))
    assert not renders("moving_camera")
    assert weighted_terms({"moving_camera": 2.0}, {}, None).needs == {"scene"}
    assert weighted_terms({"moving_camera:MovingCamera": 2.0}, {}, None).needs == {"scene"}
    with pytest.raises(
        ValueError, match=r"reward term 'relief:Relief' is a Relief; allowed: a .*Reward without arguments"
    ):
        weighted_terms({"relief:Relief": 1.0}, {}, None)
    with pytest.raises(ValueError, match=r"reward term 'still_camera'; allowed: .*moving_camera"):
        weighted_terms({"still_camera": 1.0}, {}, None)


def test_a_metric_from_outside_says_its_direction(examples: None) -> None:
    (metric,) = load_metrics(["relief"], "evaluate.metrics").values()
    assert metric.more_is_better and more_is_better("metric/relief")
    scenes = {
        name: {"metric/relief": figures}
        for name, figures in (("good", [3.0, 4.0]), ("ours", [2.0, 3.0]), ("bad", [1.0, 2.0]))
    }
    recovered = Pooled({"0": scenes}, 0).recovered("ours", "bad", "good", ["metric/relief"])
    assert recovered is not None and recovered["value"] == pytest.approx(0.5)
    with pytest.raises(ValueError, match=r"evaluate\.metrics: 'releif'; allowed: .*\brelief\b"):
        load_metrics(["releif"], "evaluate.metrics")
    with pytest.raises(ValueError, match="a metric says more_is_better"):
        load_metrics(["moving_camera:MovingCamera"], "evaluate.metrics")


def test_the_command_line_takes_an_exporter_from_outside(project: Path, tmp_path: Path) -> None:
    """By its name and by its place; of a folder, which the chain has written."""
    given = values(project)
    given["generate"]["formats"] = []
    given["generate"]["prompt"] = "a blue cube"
    for pipeline in ("extract", "score", "distill", "align", "generate"):
        run(project, pipeline, given)
    scene = project / "data/07_model_output/generated/a-blue-cube-0"
    out = tmp_path / "new" / "own.xyz"
    done = CliRunner().invoke(program, ["export", str(scene), "--to", "xyz_points:save_xyz", "--out", str(out)])
    assert (done.exit_code, done.output) == (0, f"{out}\n"), done.output
    assert list(out.parent.iterdir()) == [out] and not (scene / "points.xyz").exists()
    done = CliRunner().invoke(program, ["export", str(scene), "--to", "xyz"])
    assert (done.exit_code, done.output) == (0, f"{scene / 'points.xyz'}\n"), done.output
    assert (scene / "points.xyz").read_bytes() == out.read_bytes()
    rows = torch.tensor([[float(number) for number in line.split()] for line in out.read_text().splitlines()])
    read = read_scene(scene)
    pixels = read.frames[0].movedim(1, -1).reshape(-1, 3)
    assert len(rows) == SIZES["frames"] * 16 * 16 and bool((rows[:, 3:] == (255 * pixels).round()).all())
    # Each point falls onto its own pixel at its own depth.
    back, depth = project_points(rows[: 16 * 16, :3], read.scene.cameras[0][0])
    assert torch.allclose(back, pixel_grid(16, 16).reshape(-1, 2), atol=1e-2)
    assert torch.allclose(depth, read.scene.depth[0, 0].flatten(), rtol=1e-3)
    for words, sentence in (
        (("--to", "obj"), ", xyz, or the place of your own (package.module:Name)"),
        (("--to", "nothing.here:save"), "nothing.here cannot be imported"),
        (("--to", "xyz_points:torch"), "--to: xyz_points:torch cannot be called; allowed: "),
        (("--to", "spz"), "holds no gaussians.ply; allowed: a folder of a scene with Gaussians"),
    ):
        refused = CliRunner().invoke(program, ["export", str(scene), *words])
        assert refused.exit_code == 1 and sentence in refused.output and refused.output.count("\n") == 1, refused.output


def test_an_exporter_that_is_none_is_refused_before_work(project: Path) -> None:
    with pytest.raises(ValueError, match=r"generate\.formats: 'obj'; allowed: ply, .*, xyz, or the place"):
        check_formats(["obj"], "generate.formats")
    given = values(project)
    given["generate"]["formats"] = ["obj"]
    with pytest.raises(ValueError, match=r"generate\.formats: 'obj'; allowed: ply, .*, xyz, or the place"):
        run(project, "generate", given)


def test_a_reader_from_outside_is_curated(project: Path, tmp_path: Path) -> None:
    import csv_cameras

    for scene in range(3):
        folder = tmp_path / f"scene{scene}"
        folder.mkdir()
        lines = [",".join(("picture", "focal", *csv_cameras.POSE))]
        noise = torch.rand(3, 8, 40, generator=torch.Generator().manual_seed(scene))
        wide = torch.nn.functional.interpolate(noise[None], (64, 320), mode="bicubic")[0].clamp(0, 1)
        for k in range(9):
            pixels = (255 * wide[:, :, 12 * k : 12 * k + 64]).byte().movedim(0, -1).contiguous()
            Image.fromarray(pixels.numpy()).save(folder / f"{k}.png")
            lines.append(f"{k}.png,60,1,0,0,{-0.1 * k},0,1,0,0,0,0,1,0")
        (folder / csv_cameras.FILE).write_text("\n".join(lines))
    assert [source.location for source in scan(tmp_path)] == ["scene0", "scene1", "scene2"]
    run(project, "curate", {"curate": {**SIZES, "source": str(tmp_path)}})
    store = ClipStore(
        project / "data/03_primary/clips", pd.read_parquet(project / "data/03_primary/clip_index.parquet")
    )
    (clip, *others) = [store.load(name) for split in ("fit", "selection", "heldout") for name in store.names(split)]
    assert len(others) == 2 and clip.cameras is not None
    steps = clip.cameras.centers.diff(dim=0)
    assert bool((steps[:, 0] > 0).all()) and float(steps[:, 1:].abs().max()) < 1e-6


@pytest.mark.long
def test_an_example_installs(tmp_path: Path) -> None:
    """With pip, as its README says, into a folder of its own."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "--target",
        str(tmp_path),
    ]
    subprocess.run([*command, str(EXAMPLES / "equivariant_network")], check=True)
    program = "from vist3a import registry; print(registry.find('networks', 'equivariant').__name__)"
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "EquivariantNetwork"

"""The whole chain on the shipped networks, at smoke size, in a copy of the project: reports, repeatability, assets, bad input."""

from __future__ import annotations

import inspect
import json
import logging
import math
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
from chain_meaning import Chain, apart, distances, film, generated, r2_heldout, rewards
from kedro.config import OmegaConfigLoader
from PIL import Image

import vist3a
from vist3a.adapters.artifact import read_artifact as read_adapter
from vist3a.generation.text_to_3d import TextTo3D
from vist3a.stitching.artifact import read_artifact as read_decoder
from vist3a.stitching.store import load_fit
from vist3a.weights.artifact_file import weights_fingerprint
from vist3a_app.hooks.generator_model import record_generator
from vist3a_app.pipelines.generate.params import GenerateParams
from vist3a_app.settings import CONFIG_LOADER_ARGS
from vist3a_lab.procedural import kinds_of, parse_prompt, sample_prompts

REPOSITORY = Path(__file__).resolve().parents[3]
WEIGHTS = REPOSITORY / "data" / "06_models" / "embedded"
REPORTS = ("curate", "extract", "score", "distill", "align", "evaluate")


def kedro(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "VIST3A_TRACKING": "off", "DO_NOT_TRACK": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-m", "kedro", "run", "--env=smoke", *arguments]
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not (WEIGHTS / "generator").is_dir():
        pytest.skip("the embedded networks are not here; `make setup` fetches them from the repository")
    root = tmp_path_factory.mktemp("project")
    shutil.copytree(REPOSITORY / "conf", root / "conf")
    for name in ("pyproject.toml", ".gitignore"):
        shutil.copy(REPOSITORY / name, root)
    shutil.copytree(REPOSITORY / "src", root / "src", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "data" / "06_models").mkdir(parents=True)
    (root / "data" / "06_models" / "embedded").symlink_to(WEIGHTS)
    (root / "reports").mkdir()
    shutil.copy(REPOSITORY / "reports" / "layer_study.json", root / "reports")  # which the claims quote
    identity = ["-c", "user.name=me", "-c", "user.email=me@example.invalid"]
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-q", "-m", "all"]):
        subprocess.run(["git", *command], cwd=root, check=True)
    return root


@pytest.fixture(scope="module")
def chain(project: Path) -> Path:
    """The project after one run of the chain."""
    result = kedro(project, "--pipelines=stitch")
    assert result.returncode == 0, result.stderr[-3000:]
    return project


def reports(project: Path) -> dict[str, str]:
    return {name: (project / "data" / "08_reporting" / f"{name}.json").read_text() for name in REPORTS}


def test_the_chain_writes_its_reports(chain: Path) -> None:
    read = {name: json.loads(text) for name, text in reports(chain).items()}
    points = read["score"]["points"]
    assert read["score"]["chosen"] in points
    assert points[read["score"]["chosen"]]["complete"]
    for point in points.values():
        assert point["r2_low"] <= point["r2_heldout"] <= point["r2_high"]
        assert len(point["r2_frames"]) == 13
        assert 0 <= point["cka"] <= 1
    functional = read["score"]["functional_error"]
    assert {"depth_absrel", "rotation_deg", "points", "rendered_l1"} <= functional[read["score"]["chosen"]].keys()
    assert 'src="data:image/png;base64,' in (chain / "data" / "08_reporting" / "score.html").read_text()
    assert {"first", "last"} <= read["align"].keys()
    terms = {"reward/text_decoded", "reward/text_rendered", "reward/consistency_l1", "reward/consistency_perceptual"}
    assert terms <= read["align"]["first"].keys()
    assert {"before", "after", "ratio"} == read["distill"].keys() - {
        "stitch_layer", "clips", "fit_clips", "kept", "worse", "median",
    }  # fmt: skip
    # One clip is measured here, whose mean and median are its own.
    assert read["distill"]["median"] == {key: read["distill"][key] for key in ("before", "after", "ratio")}
    assert "judge/total" in read["evaluate"]["generation"]


def test_what_the_chain_leaves_says_what_it_is_of(chain: Path) -> None:
    models = chain / "data" / "06_models"
    decoder = read_decoder(models / "stitched_decoder")
    adapter = read_adapter(models / "aligned_generator")
    assert decoder is not None and adapter is not None
    assert adapter.aligned.pairing == decoder.pairing
    assert (adapter.aligned.point, adapter.aligned.decoder) == (
        decoder.point,
        weights_fingerprint(models / "stitched_decoder"),
    )
    assert adapter.aligned.denoiser.fingerprint != decoder.pairing.generator.fingerprint
    # Places relative to the project: the files are equal wherever the chain ran.
    assert str(chain) not in (models / "aligned_generator" / "adapter.json").read_text()


@pytest.fixture
def made(chain: Path, monkeypatch: pytest.MonkeyPatch) -> Chain:
    """What the chain has made, to be measured anew."""
    monkeypatch.chdir(chain)
    return Chain(chain)


def test_the_chosen_point_is_the_best_complete_one_on_clips_that_were_not_fitted(made: Chain) -> None:
    """And its layer explains there what the report says."""
    report = made.report("score")
    complete = {name: point["r2_heldout"] for name, point in report["points"].items() if point["complete"]}
    first, second = sorted(complete, key=lambda name: -complete[name])[:2]
    assert 1 < len(complete) < len(report["points"])
    assert report["chosen"] == first == load_fit(made.models("stitch_layer"))[0].point
    assert report["lead"]["over"] == second
    assert report["lead"]["r2"] == pytest.approx(complete[first] - complete[second])
    everything = [report["points"][name]["r2_heldout"] for name in report["ranking"]]
    assert everything == sorted(everything, reverse=True) and len(everything) == len(report["points"])
    ridges = made.params["score"].ridges
    assert all(point["ridge"] in ridges for point in report["points"].values())
    with torch.no_grad():
        assert r2_heldout(made) == pytest.approx(complete[first], abs=1e-4)


@torch.no_grad()
def test_distillation_and_evaluation_report_the_distances_of_what_they_left(made: Chain) -> None:
    (clip,) = made.clips("heldout")[:1]
    frames = clip.frames[None]
    size, generator, original = (
        (frames.shape[-2], frames.shape[-1]),
        made.generator(),
        made.params["networks"].load_reconstruction(),
    )
    target, latents = original.reconstruct(frames), generator.encode(frames)
    found = {
        "stitched": distances(made.stitched()(latents, size, frames), target),
        "stitched_distilled": distances(made.distilled()(latents, size, frames), target),
        "sequential": distances(original.reconstruct(generator.decode(latents)), target),
    }
    report, evaluated = made.report("distill"), made.report("evaluate")["geometry"]
    assert report["stitch_layer"] == made.report("score")["chosen"] and report["clips"] == evaluated["clips"] == 1
    assert report["before"] == pytest.approx(found["stitched"], rel=1e-3)
    # Training that does harm is thrown away: what is left is the better of the two.
    product = math.prod(report["ratio"].values())
    assert report["kept"] == ("distilled" if product < 1 else "closed form")
    worse = {name for name in report["before"] if report["after"][name] > report["before"][name]}
    assert set(report["worse"]) == worse
    left = report["after" if product < 1 else "before"]
    assert left == pytest.approx(found["stitched_distilled"], rel=1e-3)
    for name, value in report["ratio"].items():
        assert value == pytest.approx(report["after"][name] / report["before"][name])
    for variant, expected in found.items():
        assert evaluated["distance_to_original"][variant] == pytest.approx(expected, rel=1e-3), variant
    assert report["after"] != report["before"]
    # The closed form's own error, which the score measured on this clip.
    scored = made.report("score")["functional_error"][report["stitch_layer"]]
    assert {name: scored[name] for name in found["stitched"]} == pytest.approx(found["stitched"], rel=1e-3)


def test_the_first_picture_of_readme_shows_what_evaluation_measured(chain: Path, tmp_path: Path) -> None:
    out = tmp_path / "picture.webp"
    command = [sys.executable, str(REPOSITORY / "docs" / "before_after.py"), "--env=smoke", f"--out={out}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, cwd=chain, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    # Both prompts of the smoke environment, five frames there and back.
    found = re.findall(r"^(.+): ([\d.]+) dB before, ([\d.]+) dB after$", result.stdout, re.MULTILINE)
    assert len({prompt for prompt, _, _ in found}) == 2
    rerender = json.loads((chain / "data" / "08_reporting" / "evaluate.json").read_text())["film"]["rerender"]
    for state, values in zip(("before", "after"), zip(*[row[1:] for row in found], strict=True), strict=True):
        assert sum(map(float, values)) / 2 == pytest.approx(rerender[state], abs=0.06)
    with Image.open(out) as film, Image.open(out.with_suffix(".png")) as still:
        assert film.n_frames == 8 and still.height == film.height and still.width > 2 * film.width


def test_the_first_picture_of_readme_needs_the_chain(project: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    shutil.copytree(project / "conf", empty / "conf")
    (empty / "data" / "06_models").mkdir(parents=True)
    (empty / "data" / "06_models" / "embedded").symlink_to(WEIGHTS)
    command = [sys.executable, str(REPOSITORY / "docs" / "before_after.py"), "--env=smoke"]
    result = subprocess.run(command, cwd=empty, capture_output=True, text=True, check=False)
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert "data/06_models/stitched_decoder is missing; `kedro run --pipelines=stitch` makes it" in result.stderr


@torch.no_grad()
def test_alignment_changes_the_generator_and_evaluation_measures_both(made: Chain) -> None:
    """Means over prompts that alignment has not seen, each sampled anew, alone, with the adapter and without."""
    report, align, evaluate = made.report("evaluate")["generation"], made.params["align"], made.params["evaluate"]
    seen = {prompt.text for prompt in sample_prompts(align.seed, align.prompts)}
    fresh = [prompt.text for prompt in sample_prompts(evaluate.seed, 2 * evaluate.prompts) if prompt.text not in seen]
    assert report["prompts"] == evaluate.prompts == 2
    pictures = {}
    for state, generator in (("before", made.generator()), ("after", made.generator(adapter=True))):
        found = []
        for prompt in fresh[:2]:
            pictures[state] = generated(made, generator, prompt)
            found.append(rewards(made, prompt, *pictures[state]))
        for name in found[0]:
            mean = sum(one[name] for one in found) / 2
            assert report[name][state] == pytest.approx(mean, rel=1e-2, abs=1e-4), (state, name)
    for name, one in report.items():
        if name != "prompts":
            assert one["difference"] == pytest.approx(one["after"] - one["before"], abs=1e-9), name
    # Every kind that these prompts have, with the mean of its own prompts.
    kinds = made.report("evaluate")["kinds"]
    assert {row["kind"] for row in kinds["rows"]} == {kind for p in fresh[:2] for kind in kinds_of(parse_prompt(p))}
    assert set(kinds["worst"]) == {"accuracy/decoded", "accuracy/rendered"}
    for row in kinds["rows"]:
        if row["prompts"] == 2:
            assert row["before"] == pytest.approx(report[row["figure"]]["before"])
            assert row["after"] == pytest.approx(report[row["figure"]]["after"])
    assert float((pictures["after"][0] - pictures["before"][0]).abs().max()) > 1e-6, "the adapter does something"
    history = pd.read_parquet(made.root / "data" / "08_reporting" / "align.parquet")
    assert made.report("align")["steps"] == align.loop.steps == history["step"].nunique()
    total = sum(weight * made.report("align")["last"][f"reward/{name}"] for name, weight in align.weights(True).items())
    assert made.report("align")["last"]["reward/total"] == pytest.approx(total, rel=1e-5)


@torch.no_grad()
def test_evaluation_looks_at_films_with_the_original_network(made: Chain) -> None:
    """Before and after alignment, at held-out clips, and at films of one prompt from another noise."""
    report, align, evaluate = made.report("evaluate")["film"], made.params["align"], made.params["evaluate"]
    seen = {prompt.text for prompt in sample_prompts(align.seed, align.prompts)}
    fresh = [prompt.text for prompt in sample_prompts(evaluate.seed, 2 * evaluate.prompts) if prompt.text not in seen]
    clips = [film(made, clip.frames[None, : evaluate.frames]) for clip in made.clips("heldout")[: evaluate.clips]]
    for name in ("rerender", "motion"):
        found = sum(one[name] for one in clips) / len(clips)
        assert report["clips"][name]["mean"] == pytest.approx(found, rel=1e-3)
    for state, generator in (("before", made.generator()), ("after", made.generator(adapter=True))):
        frames = [generated(made, generator, prompt)[0] for prompt in fresh[:2]]
        figures = [film(made, one) for one in frames]
        for name in ("rerender", "motion"):
            mean = sum(one[name] for one in figures) / 2
            assert report[name][state] == pytest.approx(mean, rel=1e-2), (state, name)
        share = report["share_of_clips"]["motion"][state]["ratio"]
        assert share == pytest.approx(report["motion"][state] / report["clips"]["motion"]["mean"])
        assert evaluate.diversity.prompts == 1 and evaluate.diversity.noises == 2
        distance = apart(made, frames[0][0], generated(made, generator, fresh[0], more=1)[0][0])
        assert report["diversity"][state] == pytest.approx(distance, rel=1e-2), state
    assert {"rerender", "motion", "motion_before", "flicker", "diversity"} == report["statements"].keys()


def test_a_run_leaves_the_checkout_clean(chain: Path) -> None:
    assert subprocess.check_output(["git", "status", "--short"], cwd=chain, text=True) == ""
    subprocess.run(["git", "ls-files", "--error-unmatch", "reports/layer_study.json", "src"], cwd=chain, check=True)


@pytest.mark.long
def test_the_same_command_gives_the_same_reports(chain: Path) -> None:
    before = reports(chain)
    result = kedro(chain, "--pipelines=stitch")
    assert result.returncode == 0, result.stderr[-3000:]
    assert reports(chain) == before


@pytest.mark.long
def test_the_layer_study_reports(project: Path) -> None:
    result = kedro(project, "--pipelines=layer_study")
    assert result.returncode == 0, result.stderr[-3000:]
    report = json.loads((project / "data" / "08_reporting" / "layer_study.json").read_text())
    assert {row["point"] for row in report["distilled"]} == {"encoder.00", "encoder.05"}
    assert all(set(point["r2"]) == {"501", "502"} for point in report["curve"].values())
    page = (project / "data" / "08_reporting" / "layer_study.md").read_text()
    assert all(sentence in page for sentence in (*report["statement"], *report["noise_statement"]))
    assert set(report["noise"]["501"]["0.5"]["outputs"]) == {"decoding first", "encoder.00", "encoder.05"}
    assert (project / "data" / "08_reporting" / "layer_study.png").is_file()


@pytest.mark.long
def test_the_claims_report_and_a_killed_run_goes_on(chain: Path) -> None:
    """The second run is stopped after it has measured one part, which the third takes over; all three reports are equal."""
    arguments = ("--pipelines=claims",)
    assert kedro(chain, *arguments).returncode == 0
    written = {
        name: (chain / "data" / "08_reporting" / name).read_bytes()
        for name in ("claims.json", "claims.md", "claims_noise.png")
    }
    report = json.loads(written["claims.json"])
    assert {"holds", "does not hold", "not decided", "not testable here"} >= {
        one["verdict"] for one in report["claims"]
    }
    assert {row["variant"] for row in report["shifted_rows"]} == {"stitched_distilled", "stitched_distilled_there"}
    assert set(report["noise"]) == {"0", "0.5"} and set(report["orders"]["stitched_ordered"]) >= {"points", "auc_30"}
    state = chain / "data" / "06_models" / "checkpoints" / "claims"
    assert not state.exists(), "other code would not make the parts anew"
    environment = {**os.environ, "VIST3A_TRACKING": "off", "DO_NOT_TRACK": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-m", "kedro", "run", "--env=smoke", *arguments]
    process = subprocess.Popen(
        command, cwd=chain, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while process.poll() is None and not list(state.glob("noise-1-*/figures.json")):
        time.sleep(0.05)
    process.kill()
    process.wait()
    kept = {path: path.stat().st_mtime_ns for path in state.glob("*/figures.json")}
    assert len(kept) >= 2, "the run ended before it could be killed"
    result = kedro(chain, *arguments)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "claims: geometry of seed 1 is there from an earlier run" in result.stdout + result.stderr
    assert {name: (chain / "data" / "08_reporting" / name).read_bytes() for name in written} == written


@pytest.mark.long
def test_the_alignment_study_reports_and_a_killed_run_goes_on(chain: Path) -> None:
    """The second run is stopped after an adapter was measured; the third goes on, and its report is that of the first."""
    arguments = ("--pipelines=alignment_study",)
    assert kedro(chain, *arguments).returncode == 0
    written = {
        name: (chain / "data" / "08_reporting" / name).read_bytes()
        for name in ("alignment_study.json", "alignment_study.md", "alignment_study_frontier.png")
    }
    report = json.loads(written["alignment_study.json"])
    assert set(report["means"]) == {
        "no_finetuning", "generative", "consistency", "quality", "full", "full_motion",
    }  # fmt: skip
    assert set(report["films"]) == {*report["means"], "true_clips", "beside"}
    # The generator beside is the very same one, unaligned too.
    for name, found in report["films"]["beside"].items():
        assert found == pytest.approx(report["films"]["no_finetuning"][name], rel=1e-4)
    assert {"reward/total", "judge/total", "accuracy/rendered", "sharpness/rendered", "consistency_psnr"} <= set(
        report["means"]["full"]
    )
    changes = [found["reward/total"]["value"] for found in report["differences"].values()]
    assert len(set(changes)) == len(changes) and 0.0 not in changes, "every variant trains something else"
    state = chain / "data" / "06_models" / "checkpoints" / "alignment_study"
    assert not state.exists(), "other code would not make the parts anew"
    environment = {**os.environ, "VIST3A_TRACKING": "off", "DO_NOT_TRACK": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-m", "kedro", "run", "--env=smoke", *arguments]
    process = subprocess.Popen(
        command, cwd=chain, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while process.poll() is None and not list(state.glob("figures-generative-1-*/figures.json")):
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert list(state.glob("adapter-generative-1-*")), "the run ended before it could be killed"
    result = kedro(chain, *arguments)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "alignment_study: generative of seed 1 is there from an earlier run" in result.stdout + result.stderr
    assert {name: (chain / "data" / "08_reporting" / name).read_bytes() for name in written} == written


def test_generate_writes_assets_and_says_where(chain: Path) -> None:
    result = kedro(chain, "--pipelines=generate", "--params=generate.prompt=a green cube in ../../a white room")
    assert result.returncode == 0, result.stderr[-3000:]
    (folder,) = (chain / "data" / "07_model_output" / "generated").iterdir()
    assert re.fullmatch(r"a-green-cube-in-a-white-room--[0-9a-f]{8}-0", folder.name)
    assert folder.name in result.stderr
    written = {path.name for path in folder.iterdir()}
    assert {"gaussians.ply", "gaussians.spz", "points.glb", "depth.npz", "transforms.json", "turntable.mp4"} <= written
    viewer = chain / "data" / "08_reporting" / "viewers" / f"{folder.name}.html"
    assert viewer.read_bytes() == (folder / "viewer.html").read_bytes()
    report = json.loads((chain / "data" / "08_reporting" / "generated.json").read_text())
    assert report["scenes"]["a green cube in ../../a white room"]["consistency_db"] > 5


@pytest.fixture(scope="module")
def text_to_3d(chain: Path) -> TextTo3D:
    return vist3a.load(chain, env="smoke")


def test_from_python_it_is_the_same_scene(chain: Path, text_to_3d: TextTo3D, tmp_path: Path) -> None:
    """As the pipeline's, to the byte; its parameters have the names of the configuration."""
    prompt = "a green cube in ../../a white room"
    scene = text_to_3d.generate(prompt)
    paths = scene.save(tmp_path)
    (pipelines,) = (chain / "data" / "07_model_output" / "generated").glob("a-green-cube*")
    assert paths["gaussians"].read_bytes() == (pipelines / "gaussians.ply").read_bytes()
    assert "<iframe" in scene._repr_html_()
    small = text_to_3d.generate(prompt, seed=1, steps=2, frames=9, max_gaussians=100)
    assert small.frames.shape[1] == 9 and small.gaussians is not None and small.gaussians.means.shape[1] == 100
    keywords = set(inspect.signature(TextTo3D.generate).parameters) - {"self", "after_step"}
    assert keywords <= set(GenerateParams.model_fields)


def test_every_prompt_works_or_is_refused(
    text_to_3d: TextTo3D, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    start = "a red sphere and a blue cube and a green cone on a wooden floor near a white box and a black cylinder and a ball "
    assert len(start) > 100
    long = ("a red ball and a blue cube " * 80)[:2000]
    prompts = [
        "a red/blue sphere", "../a red sphere", 'a "red" sphere', "a 'red' sphere; rm -rf $HOME", "a red sphere \N{ICE CUBE}",
        "a red sphere", "a  red sphere", "A red sphere", start + "on stone", start + "on grass", long, "a red\nsphere\0",
    ]  # fmt: skip
    with caplog.at_level(logging.WARNING):
        folders = [text_to_3d.generate(prompt, steps=1, frames=5).save(tmp_path)["prompt"].parent for prompt in prompts]
    assert len(set(folders)) == len(prompts)
    assert {folder.parent for folder in folders} == {tmp_path}
    assert [json.loads((folder / "prompt.json").read_text())["prompt"] for folder in folders] == prompts
    assert "the generator reads the first 40" in caplog.text
    for empty in ("", "  \n"):
        with pytest.raises(ValueError, match="the prompt is empty; give a text"):
            text_to_3d.generate(empty)
    with pytest.raises(ValueError, match="knows no word of this prompt"):
        text_to_3d.generate("\N{ICE CUBE}\N{FIRE}")


@pytest.mark.filterwarnings("default")  # MLflow's own packages warn each other
def test_the_generator_becomes_a_model(chain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Logged, registered and loaded again it gives the same Gaussians as the pipeline; the project is not needed any more."""
    import mlflow

    before = mlflow.get_tracking_uri()
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = mlflow.MlflowClient(uri)
    run = client.create_run(client.create_experiment("e", artifact_location=(tmp_path / "runs").as_uri())).info.run_id
    monkeypatch.chdir(chain)
    loader = OmegaConfigLoader(str(chain / "conf"), env="smoke", **CONFIG_LOADER_ARGS)
    folders = {name: chain / "data" / "06_models" / name for name in ("stitched_decoder", "aligned_generator")}
    try:
        record_generator(uri, run, "vist3a", loader["parameters"], folders)
        mlflow.set_tracking_uri(uri)
        monkeypatch.chdir(tmp_path)
        model = mlflow.pyfunc.load_model("models:/vist3a/1")
        monkeypatch.setenv("VIST3A_OUTPUT", str(tmp_path / "made"))
        prompt = "a green cube in ../../a white room"
        table = model.predict(pd.DataFrame({"prompt": [prompt, prompt], "seed": [0, 5]}))
    finally:
        mlflow.set_tracking_uri(before)
    assert list(table["prompt"]) == [prompt, prompt] and table["folder"].nunique() == 2
    assert all(
        Path(path).is_file() for path in table[["viewer", "gaussians", "points", "turntable"]].to_numpy().ravel()
    )
    (pipelines,) = (chain / "data" / "07_model_output" / "generated").glob("a-green-cube*")
    assert Path(table["gaussians"][0]).read_bytes() == (pipelines / "gaussians.ply").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--params=score.pont=encoder.00",), "pont"),
        (("--params=scoer.point=encoder.00",), "did you mean 'score'"),
        (("--params=score.point=encoder.99",), "score.point='encoder.99': no such candidate; allowed: encoder.00"),
        (("--params=score.point=aggregator.frame.03",), "cannot be entered with a stitch layer alone"),
        (("--params=networks.device=cuda",), "no usable CUDA device"),
        (("--params=networks.generator.family=sora",), "allowed: wan"),
    ],
)
def test_bad_input_is_one_clear_sentence(chain: Path, arguments: tuple[str, ...], sentence: str) -> None:
    if "cuda" in arguments[0] and torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    before = (chain / "data" / "08_reporting" / "score.json").read_text()
    result = kedro(chain, "--pipelines=score", *arguments)
    assert result.returncode != 0
    assert sentence in result.stderr
    assert (chain / "data" / "08_reporting" / "score.json").read_text() == before

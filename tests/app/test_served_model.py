"""The registered generator under many requests at once, and under bad ones: threads in one process, and MLflow's own server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from served import SCENES, Content, Server, content, project

import vist3a
from vist3a.export.ply import load_gaussians
from vist3a.runtime.atomic import replacing
from vist3a_app.hooks.generator_model import GeneratorModel, record_generator, registered_bundle
from vist3a_app.serving.requests import Request, read_requests
from vist3a_app.serving.service import RefusedError, SceneService

# MLflow's own packages warn each other.
pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A store with the generator of tiny random networks as version 1 of the model ``tiny``."""
    root = tmp_path_factory.mktemp("served")
    before = Path.cwd()
    os.chdir(root)  # paths of the catalog start there
    _, parameters, folder = project(root)
    uri = f"sqlite:///{root}/mlflow.db"
    client = mlflow.MlflowClient(uri)
    number = client.create_run(client.create_experiment("e", (root / "runs").as_uri())).info.run_id
    environment = dict(os.environ)
    record_generator(uri, number, "tiny", parameters, {"stitched_decoder": folder, "aligned_generator": folder})
    assert dict(os.environ) == environment, "the next run would read where this one was recorded"
    yield uri
    os.chdir(before)


@pytest.fixture(scope="module")
def model(store: str) -> Iterator[Any]:
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(store)
    yield mlflow.pyfunc.load_model("models:/tiny/1")
    mlflow.set_tracking_uri(before)


def ask(model: Any, prompt: str, seed: int) -> str:
    table = model.predict(pd.DataFrame({"prompt": [prompt], "seed": [seed]}))
    return str(table["folder"][0])


@pytest.fixture(scope="module")
def alone(model: Any, tmp_path_factory: pytest.TempPathFactory) -> list[Content]:
    """What each of ``SCENES`` is when nobody else asks."""
    output = tmp_path_factory.mktemp("alone")
    os.environ["VIST3A_OUTPUT"] = str(output)
    try:
        found = [content(ask(model, *scene)) for scene in SCENES]
    finally:
        del os.environ["VIST3A_OUTPUT"]
    assert len({one["gaussians.ply"] for one in found}) == len({one["frames.mp4"] for one in found}) == len(SCENES)
    return found


def test_fifty_threads_get_their_own_scenes(
    model: Any, alone: list[Content], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIST3A_OUTPUT", str(tmp_path))
    wanted = [number % len(SCENES) for number in range(50)]
    with ThreadPoolExecutor(50) as pool:
        folders = list(pool.map(lambda scene: ask(model, *SCENES[scene]), wanted))
    assert [content(folder) for folder in folders] == [alone[scene] for scene in wanted]


def test_bad_requests_have_no_part_in_it(
    model: Any, alone: list[Content], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refusals in between, which read words with the tokenizer that others use."""
    monkeypatch.setenv("VIST3A_OUTPUT", str(tmp_path))

    def one(number: int) -> str:
        if number % 2:
            with pytest.raises(MlflowException, match="knows no word of this prompt"):
                ask(model, "qwrt zzxx", number)
        return ask(model, *SCENES[number % len(SCENES)])

    with ThreadPoolExecutor(10) as pool:
        folders = list(pool.map(one, range(10)))
    assert [content(folder) for folder in folders] == [alone[number % len(SCENES)] for number in range(10)]


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (pd.DataFrame({"prompt": [""]}), "the prompt is empty; give a text"),
        (pd.DataFrame({"prompt": [None]}), "row 0: prompt None is no text"),
        (pd.DataFrame({"prompt": ["qwrt zzxx"]}), "the generator knows no word of this prompt"),
        (pd.DataFrame({"prompt": ["a ball " * 20]}), r"41 tokens; allowed: 8"),
        (pd.DataFrame({"promt": ["a ball"]}), "unknown column promt; allowed: a table with the column prompt"),
        (pd.DataFrame({"prompt": ["a ball"], "sed": [3]}), "unknown column sed"),
        (pd.DataFrame({"seed": [3]}), "the request has no prompt"),
        (pd.DataFrame({"prompt": ["a", "a"], "seed": [1, 1.5]}), "row 1: seed 1.5; allowed: an integer of 64 bits"),
    ],
)
def test_a_bad_request_is_status_400_and_a_sentence(model: Any, data: pd.DataFrame, sentence: str) -> None:
    with pytest.raises(MlflowException, match=sentence) as caught:
        model.predict(data)
    assert caught.value.get_http_status_code() == 400


def test_a_full_disk_is_no_fault_of_the_request(model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("VIST3A_OUTPUT", str(tmp_path / "file"))
    with pytest.raises(MlflowException, match="the scene cannot be written to") as caught:
        ask(model, "a ball", 1)
    assert caught.value.get_http_status_code() == 500


def test_parameters_of_a_request_are_those_of_generate(
    model: Any, alone: list[Content], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They change the scene of their row alone; a gap is the model's own value."""
    monkeypatch.setenv("VIST3A_OUTPUT", str(tmp_path))
    (first, seed), (second, other) = SCENES[0], SCENES[2]
    table = pd.DataFrame({"prompt": [first, second], "seed": [seed, other], "max_gaussians": [7, None]})
    folders = list(model.predict(table)["folder"])
    assert load_gaussians(Path(folders[0]) / "gaussians.ply").means.shape[1] == 7
    assert content(folders[1]) == alone[2]


def test_both_doors_have_the_same_sentences(model: Any, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As both ask one core, whose own error has the status."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    service = SceneService(vist3a.load(registered_bundle("models:/tiny/latest")))
    wrong = pd.DataFrame({"prompt": ["a ball"], "frames": [6]})
    with pytest.raises(RefusedError) as own:
        service.answer(wrong)
    with pytest.raises(MlflowException) as theirs:
        model.predict(wrong)
    assert own.value.status == theirs.value.get_http_status_code() == 400
    assert (
        own.value.args[0]
        == theirs.value.message
        == "row 0: 6 frames: this generator takes 1, 5, 9, ... frames (nearest: 5 or 9)"
    )


@pytest.mark.parametrize(
    ("model_name", "sentence"),
    [
        ("models:/tiny/7", "allowed: a generator that `kedro run --pipelines=stitch` has registered"),
        ("models:/nobody/latest", "allowed: a generator that"),
    ],
)
def test_a_model_that_is_not_registered_is_one_sentence(
    model_name: str, sentence: str, store: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    with pytest.raises(FileNotFoundError, match=sentence) as refused:
        registered_bundle(model_name)
    assert "\n" not in str(refused.value)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no store sqlite:///mlflow\.db here"):
        registered_bundle(model_name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("column", "value", "sentence"),
    [
        ("steps", 0, r"row 0: steps 0; allowed: greater than 0, or null"),
        ("steps", 1.5, r"row 0: steps 1\.5; allowed: a valid integer"),
        ("steps", "3", r"row 0: steps '3'; allowed: a valid integer"),
        ("steps", True, r"row 0: steps True; allowed: a valid integer"),
        ("guidance", 0.5, r"row 0: guidance 0\.5; allowed: greater than or equal to 1"),
        ("guidance", float("inf"), r"row 0: guidance inf; allowed: a finite number"),
        ("min_opacity", 1, r"row 0: min_opacity 1; allowed: less than 1"),
        ("voxel_size", [1], r"row 0: voxel_size \[1\]; allowed: a valid number"),
    ],
)
def test_no_parameter_is_guessed(column: str, value: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        read_requests(pd.DataFrame({"prompt": ["a"], column: pd.Series([value], dtype=object)}))


@pytest.mark.parametrize("seed", ["3", "x", True, 1.5, 2.0**60, float("inf"), 2**63, -(2**63) - 1])
def test_no_seed_is_guessed(seed: object) -> None:
    with pytest.raises(ValueError, match=r"row 0: seed .*; allowed: an integer of 64 bits, or null"):
        read_requests(pd.DataFrame({"prompt": ["a"], "seed": pd.Series([seed], dtype=object)}))


def test_requests_are_read() -> None:
    gaps = pd.DataFrame({"prompt": ["a", "b"], "seed": [None, 3]})
    assert read_requests(gaps) == [Request("a", None), Request("b", 3)]
    assert read_requests({"prompt": "a", "seed": -1}) == [Request("a", -1)]
    assert read_requests({"prompt": ["a", "b"]}) == [Request("a", None), Request("b", None)]
    steps = pd.DataFrame({"prompt": ["a", "b"], "steps": [None, 3], "guidance": [2, None]})
    assert read_requests(steps) == [Request("a", None, {"guidance": 2.0}), Request("b", None, {"steps": 3})]
    assert read_requests(pd.DataFrame({"prompt": ["a"], "seed": [2**63 - 1]})) == [Request("a", 2**63 - 1)]
    for other in (["a"], "a", None):
        with pytest.raises(ValueError, match="the request is a "):
            read_requests(other)


def test_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    """Both are in the middle of it at the same time; each writes to a name of its own, and the last one stays whole."""
    file = tmp_path / "scene.ply"
    with replacing(file) as first:
        first.write_text("first")
        with replacing(file) as second:
            assert second != first
            second.write_text("second")
        assert file.read_text() == "second"
    assert file.read_text() == "first"
    assert list(tmp_path.iterdir()) == [file]


MLFLOW = ["-m", "mlflow", "models", "serve", "-m", "models:/tiny/1", "--env-manager", "local"]
DOORS = {"mlflow": MLFLOW, "own": ["-m", "vist3a_app", "serve", "--model", "models:/tiny/1"]}


def server(store: str, output: Path, door: str) -> Server:
    """A door of the generator: ``mlflow models serve``, or ``vist3a serve``."""
    return Server(DOORS[door], MLFLOW_TRACKING_URI=store, VIST3A_OUTPUT=str(output))


def served_together(store: str, output: Path, alone: list[Content], count: int, door: str) -> None:
    """``count`` good requests at once with a few bad ones among them."""
    bad = [
        ([{"prompt": "qwrt zzxx"}], "the generator knows no word of this prompt"),
        ([{"prompt": "a ball", "seed": "x"}], "row 0: seed 'x'; allowed: an integer of 64 bits"),
        ([{"promt": "a ball"}], "unknown column promt"),
        ([{"prompt": "a ball", "steps": 0}], "row 0: steps 0; allowed: greater than 0"),
    ]
    with server(store, output, door) as serving, ThreadPoolExecutor(count + len(bad)) as pool:
        good = [
            pool.submit(serving.ask, [dict(zip(("prompt", "seed"), SCENES[number % len(SCENES)], strict=True))])
            for number in range(count)
        ]
        refused = [pool.submit(serving.ask, records) for records, _ in bad]
        # When all are done: two of them may be of one scene, and the later writes into the folder of the earlier.
        for number, (status, found) in enumerate([answer.result() for answer in good]):
            assert status == 200, found
            assert content(found["predictions"][0]["folder"]) == alone[number % len(SCENES)]
        for (_, sentence), answer in zip(bad, refused, strict=True):
            status, found = answer.result()
            assert status == 400 and sentence in found["message"], found


@pytest.mark.parametrize("door", DOORS)
def test_requests_over_http_at_the_same_time(door: str, store: str, alone: list[Content], tmp_path: Path) -> None:
    served_together(store, tmp_path, alone, 8, door)


@pytest.mark.long
@pytest.mark.parametrize("door", DOORS)
def test_fifty_requests_over_http_at_the_same_time(door: str, store: str, alone: list[Content], tmp_path: Path) -> None:
    served_together(store, tmp_path, alone, 50, door)


def test_our_own_door_takes_one_request_and_refuses_what_is_none(
    store: str, alone: list[Content], tmp_path: Path
) -> None:
    with server(store, tmp_path, "own") as serving:
        prompt, seed = SCENES[0]
        status, found = serving.call("POST", "/invocations", json.dumps({"prompt": prompt, "seed": seed}))
        assert status == 200 and content(found["predictions"][0]["folder"]) == alone[0]
        for body, sentence in (
            ("{", "the request is not JSON"),
            ("[1]", 'the request is no {"dataframe_records": [{...}]} alone'),
            (json.dumps({"dataframe_records": [], "params": {}}), "alone and no object of one request"),
            (json.dumps({"dataframe_records": []}), "the request has no prompt"),
            (json.dumps({"dataframe_records": [3]}), "alone and no object of one request"),
            (json.dumps({"prompt": "a ball", "seed": 2**63}), "row 0: seed 9223372036854775808; allowed"),
            (json.dumps({"prompt": ["a ball"]}), "row 0: prompt ['a ball'] is no text"),
        ):
            status, found = serving.call("POST", "/invocations", body)
            assert (status, found["error_code"]) == (400, "INVALID_PARAMETER_VALUE") and sentence in found["message"]
        # What a page on the internet can send through a browser without asking.
        status, found = serving.call("POST", "/invocations", '{"prompt": "a ball"}', Content_Type="text/plain")
        assert status == 400 and "Content-Type 'text/plain'; allowed: application/json" in found["message"]
        assert serving.call("GET", "/ping", Host="elsewhere.example")[0] == 400
        taken = subprocess.run(
            [sys.executable, *DOORS["own"], "--port", str(serving.port)], capture_output=True, text=True, check=False
        )
    assert taken.returncode == 1 and f"--port {serving.port}: " in taken.stderr and "and a free port" in taken.stderr
    assert "Traceback" not in taken.stderr


def test_those_who_wait_in_line_are_not_sent_away(store: str, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from vist3a_app.hooks.generator_model import _load_pyfunc

    path = Path(mlflow.artifacts.download_artifacts("models:/tiny/1")) / "data"
    folder = next(folder for folder in [path, *path.iterdir()] if (folder / "parameters.json").is_file())
    for given, read in (("60", "3600"), ("90", "90")):
        monkeypatch.setenv("MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT", given)
        assert isinstance(_load_pyfunc(str(folder)), GeneratorModel)
        assert os.environ["MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT"] == read

"""``vist3a serve`` in a process of its own: many who ask at once, restarts, and what it refuses."""

from __future__ import annotations

import io
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from served import SCENES, Content, Server, content, ended, server, submitted

MANY = 50


def test_fifty_at_once(model: Path, alone: list[Content], tmp_path: Path) -> None:
    """Two of them are cancelled, one more is bad, and others wait for their answer as MLflow's clients do."""
    wanted = [*SCENES, *(("a cube", 100 + number) for number in range(MANY - len(SCENES)))]
    with server(model, tmp_path) as serving, ThreadPoolExecutor(MANY + 1) as pool:
        # It is at work for as long as the others need to come.
        first = submitted(serving, prompt="a ball", steps=400)
        jobs = list(pool.map(lambda one: submitted(serving, prompt=one[0], seed=one[1]), wanted))
        assert len({job["id"] for job in jobs}) == MANY
        bad = pool.submit(serving.call, "POST", "/jobs", '{"prompt": "qwrt zzxx"}')
        waits = pool.submit(serving.ask, [{"prompt": "a red ball", "seed": 3}])
        cancelled = {jobs[number]["id"] for number in (20, 40)}
        for id in cancelled:
            status, job = serving.call("DELETE", f"/jobs/{id}")
            assert (status, job["state"], job["place"]) == (200, "cancelled", None)
        waiting = [job["place"] for job in serving.call("GET", "/jobs")[1]["jobs"] if job["state"] == "waiting"]
        assert waiting == list(range(1, len(waiting) + 1)) and len(waiting) >= MANY - 2
        status, refusal = bad.result()
        assert status == 400 and "the generator knows no word of this prompt" in refusal["message"]
        serving.call("DELETE", f"/jobs/{first['id']}")
        found = {job["id"]: job for job in ended(serving)}
        status, answer = waits.result()
    assert status == 200 and content(answer["predictions"][0]["folder"]) == alone[0]
    assert found[first["id"]]["state"] == "cancelled" and 0 < found[first["id"]]["step"] < 400
    assert {id for id, job in found.items() if job["state"] == "cancelled"} == cancelled | {first["id"]}
    done = [job for job in found.values() if job["state"] == "done"]
    assert len(done) == MANY - 2 + 1
    for (prompt, seed), job in zip(wanted, jobs, strict=True):
        assert (job["prompt"], job["seed"]) == (prompt, seed)
        assert (tmp_path / f"{prompt.replace(' ', '-')}-{seed}" / "viewer.html").is_file() == (
            job["id"] not in cancelled
        )
    # The first scene once more at the end, for the one who waited: its files are those of its last time.
    times = [(tmp_path / job["scene"] / "viewer.html").stat().st_mtime_ns for job in done if job["seed"] != 3]
    assert times == sorted(times), "in the order of the queue"
    for number, (prompt, seed) in enumerate(SCENES):
        assert content(tmp_path / f"{prompt.replace(' ', '-')}-{seed}") == alone[number]


def test_scenes_outlive_the_server(model: Path, alone: list[Content], tmp_path: Path) -> None:
    with server(model, tmp_path) as serving:
        for prompt, seed in SCENES[:2]:
            submitted(serving, prompt=prompt, seed=seed)
        names = [job["scene"] for job in ended(serving)]
    with server(model, tmp_path) as serving:
        assert serving.call("GET", "/jobs")[1] == {"jobs": []}
        scenes = serving.call("GET", "/scenes")[1]["scenes"]
        assert [scene["name"] for scene in scenes] == names[::-1]
        assert [(scene["prompt"], scene["facts"]["seed"]) for scene in scenes] == SCENES[1::-1]
        scene = serving.call("GET", f"/scenes/{names[0]}")[1]
        assert scene["files"].keys() == alone[0].keys() and scene["viewer"]
        status, data, headers = serving.raw("GET", f"/scenes/{names[0]}/gaussians.spz")
        assert status == 200 and data == (tmp_path / names[0] / "gaussians.spz").read_bytes()
        status, data, headers = serving.raw("GET", f"/archives/{names[0]}.zip")
        assert headers["content-disposition"] == f'attachment; filename="{names[0]}.zip"'
        zipfile.ZipFile(io.BytesIO(data)).extractall(tmp_path / "unpacked")
        assert content(tmp_path / "unpacked" / names[0]) == alone[0]
        assert serving.call("DELETE", f"/scenes/{names[0]}")[0] == 204
        assert not (tmp_path / names[0]).exists() and content(tmp_path / names[1]) == alone[1]
        assert [scene["name"] for scene in serving.call("GET", "/scenes")[1]["scenes"]] == names[1:]
        for method, path in (
            ("GET", f"/scenes/{names[0]}"),
            ("DELETE", f"/scenes/{names[0]}"),
            ("GET", f"/scenes/{names[0]}/viewer.html"),
            ("GET", f"/archives/{names[0]}.zip"),
            ("GET", f"/scenes/{names[1]}/../../etc/passwd"),
            ("GET", "/scenes/..%2f..%2fetc/passwd"),
            ("GET", "/jobs/nothing"),
            ("DELETE", "/jobs/nothing"),
        ):
            assert serving.call(method, path)[0] == 404, path
        assert serving.call("GET", "/jobs/nothing")[1]["error_code"] == "RESOURCE_DOES_NOT_EXIST"


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ('{"prompt": ""}', "the prompt is empty; give a text"),
        ('{"prompt": "a ball", "seed": 1.5}', "row 0: seed 1.5; allowed: an integer of 64 bits"),
        ('{"prompt": "a ball", "seed": 9223372036854775808}', "row 0: seed 9223372036854775808; allowed"),
        ('{"prompt": "a ball", "sed": 3}', "unknown column sed"),
        ('{"prompt": "a ball", "frames": 6}', "row 0: 6 frames: this generator takes 1, 5, 9, ... frames"),
        ("{", "the request is not JSON"),
    ],
)
def test_a_bad_job_is_status_400_and_a_sentence(body: str, sentence: str, serving: Server) -> None:
    status, refusal = serving.call("POST", "/jobs", body)
    assert (status, refusal["error_code"]) == (400, "INVALID_PARAMETER_VALUE") and sentence in refusal["message"]


def test_pages_of_others_cannot_ask(serving: Server) -> None:
    """What a browser sends without asking this server first: other types, and names that were turned to this machine."""
    assert serving.call("POST", "/jobs", '{"prompt": "a ball"}', Content_Type="text/plain")[0] == 400
    for path in ("/", "/jobs", "/scenes", "/ping"):
        assert serving.call("GET", path, Host="elsewhere.example")[0] == 400
        status, _, headers = serving.raw("GET", path, Origin="http://elsewhere.example")
        assert status == 200 and not any(name.startswith("access-control") for name in headers)
    assert serving.call("OPTIONS", "/jobs", Origin="http://elsewhere.example")[0] == 405


@pytest.fixture(scope="module")
def serving(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    with server(model, tmp_path_factory.mktemp("refused")) as found:
        yield found


def test_another_host_needs_the_token(model: Path, tmp_path: Path) -> None:
    token = "sixteen-signs-at-least"
    with server(model, tmp_path, "--host", "0.0.0.0", VIST3A_TOKEN=token) as serving:
        assert serving.call("POST", "/jobs", '{"prompt": "a ball"}')[0] == 401
        assert serving.call("GET", "/scenes")[0] == 401
        status, answer = serving.call("POST", "/jobs", '{"prompt": "a ball"}', Authorization=f"Bearer {token}")
        assert status == 202 and answer["jobs"][0]["prompt"] == "a ball"

"""A generator of tiny random networks to be served, servers in processes of their own, and what they are asked."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kedro.config import OmegaConfigLoader
from tiny_chain import chosen, create, run

from vist3a_app.pipelines.generate.bundle import save_bundle
from vist3a_app.pipelines.generate.params import GenerateParams
from vist3a_app.pipelines.networks import Networks
from vist3a_app.settings import CONFIG_LOADER_ARGS

SCENES = [
    ("a red ball", 3),
    ("a red ball", 4),
    ("the green cube on the floor", 3),
    ("a cube", 7),
    ("a cube on a ball", 0),
]
Content = dict[str, str]


class Project(NamedTuple):
    """What was given over the smoke environment, all parameters by group, and the folder of the stitched decoder."""

    values: dict[str, Any]
    parameters: dict[str, Any]
    decoder: Path


def project(root: Path) -> Project:
    """A project with a stitched decoder, not aligned. ``root`` must be the working directory."""
    create(root, ["wan"], [("anysplat", "anysplat")])
    values = chosen(root, "wan", "anysplat")
    for pipeline in ("extract", "score", "distill"):
        run(root, pipeline, values)
    values["generate"] |= {"aligned": False}
    loader = OmegaConfigLoader(str(root / "conf"), env="smoke", runtime_params=values, **CONFIG_LOADER_ARGS)
    return Project(values, loader["parameters"], root / "data" / "06_models" / "stitched_decoder")


def bundle(made: Project, folder: Path) -> Path:
    """The project's bundle in a new folder."""
    folder.mkdir()
    generate, networks = (made.parameters[group] for group in ("generate", "networks"))
    save_bundle(folder, GenerateParams(**generate), Networks(**networks), made.decoder, made.decoder)
    return folder


def content(folder: Path | str) -> Content:
    """Hashes of all files of a scene by name; no other file, such as a temporary one, may lie there."""
    place = Path(folder)
    return {
        str(path.relative_to(place)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(place.rglob("*"))
        if path.is_file()
    }


class Server:
    """A server in a process of its own: arguments of Python without the port, and changes of the environment."""

    def __init__(self, arguments: Sequence[str], **variables: str) -> None:
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = found.getsockname()[1]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **variables}
        # In a group of its own: the server may be a child of the command.
        self.process = subprocess.Popen(
            [sys.executable, *arguments, "--port", str(self.port)],
            env={**environment, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def __enter__(self) -> Server:
        until = time.monotonic() + 120
        while time.monotonic() < until and self.process.poll() is None:
            try:
                if self.call("GET", "/ping")[0] == 200:
                    return self
            except OSError:
                time.sleep(0.2)
        self.__exit__()
        raise AssertionError("the server did not start")

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait(60)

    def ask(self, records: Sequence[Mapping[str, Any]]) -> tuple[int, Any]:
        """``POST /invocations``."""
        return self.call("POST", "/invocations", json.dumps({"dataframe_records": records}))

    def call(self, method: str, path: str, body: str | None = None, **headers: str) -> tuple[int, Any]:
        """Status, and what JSON says, or the text."""
        status, data, _ = self.raw(method, path, body, **headers)
        text = data.decode()
        return status, json.loads(text) if text.strip().startswith(("{", "[")) else text.strip() or None

    def raw(self, method: str, path: str, body: str | None = None, **headers: str) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and headers of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, {"Content-Type": "application/json", **given})
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        return answer.status, data, {name.lower(): value for name, value in answer.getheaders()}


def server(model: Path, output: Path, *options: str, **variables: str) -> Server:
    """``vist3a serve``."""
    return Server(["-m", "vist3a_app", "serve", "--model", str(model), "--out", str(output), *options], **variables)


def submitted(serving: Server, **request: Any) -> dict[str, Any]:
    """The job of a request that was taken."""
    status, answer = serving.call("POST", "/jobs", json.dumps(request))
    assert status == 202, answer
    (job,) = answer["jobs"]
    return dict(job)


def ended(serving: Server) -> list[dict[str, Any]]:
    """All jobs in the order of the queue, once there is nothing to be done."""
    while True:
        jobs = serving.call("GET", "/jobs")[1]["jobs"]
        if all(job["state"] in {"done", "failed", "cancelled"} for job in jobs):
            return list(jobs)


def written(root: Path, name: str, age: int = 0, **facts: object) -> Path:
    """A folder like that of a scene, ``age`` seconds older than others, whose networks nobody needs."""
    folder = root / name
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "0000.png").write_bytes(b"picture")
    (folder / "viewer.html").write_text("<p>")
    (folder / "prompt.json").write_text(json.dumps({"prompt": name.replace("-", " "), **facts}))
    os.utime(folder / "prompt.json", (1000 - age, 1000 - age))
    return folder

"""What the tests of the server share: tiny networks, loaded once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from served import SCENES, Content, Project, bundle, content, project
from tiny_chain import run

import vist3a
from vist3a.generation.text_to_3d import TextTo3D
from vist3a_app.serving.service import SceneService


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Project]]:
    """A project with ``bundle`` beside its data; its folder is the working directory meanwhile."""
    root, before = tmp_path_factory.mktemp("made"), Path.cwd()
    os.chdir(root)
    found = project(root)
    bundle(found, root / "bundle")
    os.chdir(before)
    yield root, found


@pytest.fixture(scope="session")
def model(made: tuple[Path, Project]) -> Path:
    """The folder of a bundle."""
    return made[0] / "bundle"


@pytest.fixture(scope="session")
def text_to_3d(model: Path) -> TextTo3D:
    return vist3a.load(model, parameters={"networks": {"device": "cpu"}})


@pytest.fixture
def service(text_to_3d: TextTo3D, tmp_path: Path) -> SceneService:
    return SceneService(text_to_3d, tmp_path / "scenes")


@pytest.fixture(scope="session")
def alone(text_to_3d: TextTo3D, tmp_path_factory: pytest.TempPathFactory) -> list[Content]:
    """What each of ``SCENES`` is without a queue, and when nobody else asks."""
    folder = tmp_path_factory.mktemp("alone")
    found = [content(text_to_3d.generate(prompt, seed=seed).save(folder)["prompt"].parent) for prompt, seed in SCENES]
    assert len({one["gaussians.ply"] for one in found}) == len(SCENES)
    return found


@pytest.fixture(scope="session")
def by_command(made: tuple[Path, Project]) -> Content:
    """The first of ``SCENES`` as `vist3a generate` makes it."""
    root, found = made
    before = Path.cwd()
    os.chdir(root)
    prompt, seed = SCENES[0]
    run(root, "generate", {**found.values, "generate": {**found.values["generate"], "prompt": prompt, "seed": seed}})
    os.chdir(before)
    (folder,) = (root / "data" / "07_model_output" / "generated").iterdir()
    return content(folder)

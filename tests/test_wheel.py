"""The wheel, away from any checkout: everything is in it, and the library alone does what ``docs/library.md`` says.

The environment is a new one. Of the library's dependencies, and of theirs, it has what is installed here, by links; Kedro,
MLflow, DVC and what else the application needs are not in it.
"""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import pytest
from example_packages import EXAMPLES, installed
from packaging.requirements import Requirement

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.append(str(REPOSITORY / ".ci"))
from documented_commands import commands_in  # noqa: E402  isort: skip

PAGE = REPOSITORY / "docs" / "library.md"
EMBEDDED = REPOSITORY / "data" / "06_models" / "embedded"
HOUSES = ("vist3a", "vist3a_app", "vist3a_lab")
INSTALLED = ("ltx_video", "equivariant_network")
APPLICATION = {"dvc", "grimp", "kedro", "mlflow", "pydantic"}
"""Dependencies of the application alone."""
ABSENT = ("kedro", "mlflow", "dvc", "pydantic", "omegaconf", "grimp", "sqlalchemy", "pip", "pytest")
# Runs a program of the page and prints the figures that it ends with.
DRIVER = """
import json, runpy, sys
import torch
made = runpy.run_path(sys.argv[1])
print(json.dumps({
    "from": sys.modules["vist3a"].__file__,
    "path": sys.path,
    "point": made["decoder"].point,
    "r2": {score.point: score.r2_heldout for score in made["found"].scores},
    "complete": [score.point for score in made["found"].scores if score.complete],
    "depth": made["scene"].depth.flatten()[::61].tolist(),
    "shape": list(made["scene"].depth.shape),
    "finite": all(bool(t.isfinite().all()) for t in (made["scene"].depth, made["scene"].points)),
    "error": float(made["error"]) if "error" in made else None,
    "spread": float(made["spread"]) if "spread" in made else None,
}))
"""


def programs() -> list[str]:
    return [command.text for command in commands_in(PAGE.read_text(encoding="utf-8")) if command.python]


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Wheels of vist3a and of two examples, by name; built from copies, as a build leaves files where it runs."""
    sources, made = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("wheels")
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
    (sources / "vist3a").mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE.md"):
        shutil.copy(REPOSITORY / name, sources / "vist3a" / name)
    shutil.copytree(REPOSITORY / "src", sources / "vist3a" / "src", ignore=ignore)
    for name in INSTALLED:
        shutil.copytree(EXAMPLES / name, sources / name, ignore=ignore)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    places = [str(sources / name) for name in ("vist3a", *INSTALLED)]
    subprocess.run([*command, "--wheel-dir", str(made), *places], check=True, timeout=600)
    return {path.name.partition("-")[0]: path for path in made.glob("*.whl")}


def link_dependencies(names: set[str], folder: Path) -> None:
    """Links to everything that these distributions and their own dependencies have installed here, but no program."""
    queue, seen = sorted(names), set(APPLICATION)
    while queue:
        name = queue.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            found = distribution(name)
        except PackageNotFoundError:  # of another platform or extra
            continue
        for top in {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
            place = Path(str(found.locate_file(top)))
            if place.exists() and not top.endswith(".pth") and not (folder / top).exists():
                (folder / top).symlink_to(place)
        for text in found.requires or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                queue.append(re.sub(r"[-_.]+", "-", requirement.name).lower())


@pytest.fixture(scope="module")
def python(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with the wheels and the library's dependencies."""
    root = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(root)], check=True, timeout=600)
    program = root / "bin" / "python"
    (site,) = root.glob("lib/python*/site-packages")
    install = [sys.executable, "-m", "pip", "--python", str(program), "install", "-q", "--no-deps", "--no-index"]
    subprocess.run([*install, *map(str, wheels.values())], check=True, timeout=600)
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    links = root / "dependencies"
    links.mkdir()
    link_dependencies({Requirement(text).name for text in project["dependencies"]} - APPLICATION, links)
    (site / "dependencies.pth").write_text(f"{links}\n")
    return program


def run(python: Path, folder: Path, *arguments: str) -> str:
    """What a program prints that is started in ``folder`` with nothing of this environment's variables for Python."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIST3A", "KEDRO"))}
    done = subprocess.run(
        [str(python), *arguments], cwd=folder, env={**kept, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def figures(python: Path, folder: Path, program: str) -> dict[str, Any]:
    (folder / "program.py").write_text(program)
    found: dict[str, Any] = json.loads(run(python, folder, "-c", DRIVER, "program.py").splitlines()[-1])
    assert Path(found["from"]).is_relative_to(python.parents[1])
    assert not [place for place in found["path"] if place.startswith(str(REPOSITORY / "src"))]
    assert found["finite"]
    return found


def test_everything_of_the_three_packages_is_in_the_wheel(wheels: dict[str, Path]) -> None:
    with zipfile.ZipFile(wheels["vist3a"]) as wheel:
        names, sizes = set(wheel.namelist()), {entry.filename: entry.file_size for entry in wheel.infolist()}
        (about,) = (name for name in names if name.endswith("/entry_points.txt"))
        declared = wheel.read(about).decode()
    source = REPOSITORY / "src"
    files = {
        path.relative_to(source).as_posix(): path.stat().st_size
        for house in HOUSES
        for path in (source / house).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name: sizes.get(name) for name in files} == files
    assert {name for name in names if ".dist-info/" not in name} == files.keys()
    assert {f"{house}/py.typed" for house in HOUSES} <= names
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    for places in (project["scripts"], *project["entry-points"].values()):
        assert all(f"{name} = {place}" in declared for name, place in places.items())


def test_nothing_of_the_application_can_be_imported_there(python: Path, tmp_path: Path) -> None:
    program = f"""
import importlib.util, json
import vist3a
from vist3a import presets, registry
from vist3a.weights.known import KnownWeights
print(json.dumps({{
    "there": [name for name in {ABSENT!r} if importlib.util.find_spec(name)],
    "generators": registry.names("generators"), "networks": registry.names("networks"),
    "weights": sorted(KnownWeights.read().generators),
}}))
"""
    found = json.loads(run(python, tmp_path, "-c", program))
    assert found["there"] == []
    assert {"wan", "ltx_video"} <= set(found["generators"])
    assert {"vggt", "equivariant"} <= set(found["networks"])
    assert "svd-xt" in found["weights"]


def test_two_parts_from_outside_are_searched_and_stitched(
    python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = figures(python, tmp_path, programs()[0])
    assert found["point"] == "encoder.01" and found["shape"] == [1, 9, 16, 16]
    encoder, decoder = ([f"{kind}.{k:02d}" for k in range(count)] for kind, count in (("encoder", 2), ("decoder", 4)))
    assert list(found["r2"]) == [*encoder, *decoder]
    assert found["complete"] == [*encoder, *decoder[:-1]]
    # The same program on the sources of this checkout says the same.
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with installed(tmp_path / "here", *INSTALLED):
        made = runpy.run_path(str(tmp_path / "program.py"))
    assert {score.point: score.r2_heldout for score in made["found"].scores} == pytest.approx(found["r2"], rel=1e-4)
    assert made["scene"].depth.flatten()[::61].tolist() == pytest.approx(found["depth"], rel=1e-4)


@pytest.mark.skipif(
    not (EMBEDDED / "generator").is_dir(), reason="the embedded networks are not here: dvc pull pretrain"
)
def test_the_embedded_networks_are_searched_and_stitched_from_a_folder_of_weights(python: Path, tmp_path: Path) -> None:
    shutil.copytree(EMBEDDED, tmp_path / "weights")
    found = figures(python, tmp_path, programs()[1])
    assert found["shape"] == [1, 5, 64, 64]
    assert max(found["r2"], key=found["r2"].__getitem__) == found["point"]
    # As the README says: the earlier the block, the better it fits; and the decoder sees a scene that it was not fitted on.
    r2 = list(found["r2"].values())
    assert r2[0] == max(r2) > 0.5 and min(r2) > 0.2
    assert found["error"] < found["spread"] / 4

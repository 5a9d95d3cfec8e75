"""A change of words makes no stage stale, one line of code just those that use it; seen in a copy of the project."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import project_config
import pytest
import yaml

from vist3a_app import fingerprints
from vist3a_app.import_closure import ImportClosure

REPOSITORY = project_config.REPOSITORY
CHAIN = {"curate", "extract", "score", "distill", "align", "evaluate"}
STUDIES = {"layer_study", "claims", "alignment_study"}
ALL = {"pretrain", "validate_embedded"} | CHAIN | STUDIES
ALIGNING = {"align", "evaluate", "claims", "alignment_study"}
STITCHING = ALL - {"pretrain", "curate"}
QUOTES = '"""'
# Modules of every package, and the stages that a line of code in them makes stale.
USERS: Mapping[str, set[str]] = {
    "vist3a.adapters.lora": ALL - {"curate"},
    "vist3a.alignment.align": ALIGNING - {"evaluate"},
    "vist3a.alignment.watch": ALIGNING - {"evaluate"},
    "vist3a.data.clip_store": CHAIN | {"claims", "alignment_study"},
    "vist3a.data.formats.colmap": {"curate"},
    "vist3a.distillation.match_tokens": {"distill", "layer_study", "claims"},
    "vist3a.export.ply": set(),
    "vist3a.export.video": ALIGNING | {"curate", "validate_embedded"},
    "vist3a.generation.text_to_3d": set(),
    "vist3a.generators.wan": ALL - {"curate"},
    "vist3a.generators.cogvideox": set(),
    "vist3a.generators.hunyuan_video": set(),
    "vist3a.generators.svd": set(),
    "vist3a.geometry.quaternion": ALL,
    "vist3a.geometry.similarity": {"claims"},
    "vist3a.metrics.depth": {"score", "distill", "evaluate", "layer_study", "claims", "validate_embedded"},
    "vist3a.metrics.surface": {"claims"},
    "vist3a.networks.anysplat": ALL - {"curate"},
    "vist3a.networks.depth_anything3": set(),
    "vist3a.networks.mvdust3r": set(),
    "vist3a.networks.vggt": set(),
    "vist3a.pairing": STITCHING,
    "vist3a.records.clip": ALL,
    "vist3a.registry": ALL - {"pretrain"},
    "vist3a.rendering.cpu": ALL - {"curate", "extract"},
    "vist3a.rendering.reference": set(),
    "vist3a.runtime.loop": ALL - {"curate", "extract", "score"},
    "vist3a.sampling.rollout": ALIGNING | {"validate_embedded"},
    "vist3a.scorers.clip": ALIGNING,
    "vist3a.shortening.artifact": STITCHING - {"validate_embedded"},
    "vist3a.stitching.ridge": {"score", "layer_study"},
    "vist3a.stitching.layer_search": {"score", "layer_study"},
    "vist3a.testing.networks": set(),
    "vist3a.weights.identity": STITCHING - {"validate_embedded"},
    "vist3a.weights.public": STITCHING,
    "vist3a_app.datasets.figure": {"score"} | STUDIES,
    "vist3a_app.hooks.determinism": ALL,
    "vist3a_app.hooks.run_record": set(),
    "vist3a_app.pages.score_page": {"score"},
    "vist3a_app.pipelines.distill.nodes": {"distill", "claims"},
    "vist3a_app.pipelines.distill.params": {"distill", "layer_study", "claims"},
    "vist3a_app.rehearsal.stages": set(),
    "vist3a_lab.claims.errors": {"claims"},
    "vist3a_lab.pages.study_chart": {"layer_study"},
    "vist3a_lab.pretraining.vae": {"pretrain"},
    "vist3a_lab.procedural.scene": ALL - {"extract", "score", "distill"},
    "vist3a_lab.scorers.dual_encoder": ALIGNING | {"pretrain", "validate_embedded"},
    "vist3a_lab.studies.layer_study": {"layer_study"},
    "vist3a_lab.validation.text": {"validate_embedded"},
    "vist3a_lab.world": {"curate", "align", "evaluate", "claims", "alignment_study"},
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's code and configuration, without its weights."""
    root = tmp_path_factory.mktemp("tree")
    create(root)
    return root


def create(root: Path) -> None:
    for name in ("conf", "src"):
        shutil.copytree(REPOSITORY / name, root / name, ignore=shutil.ignore_patterns("__pycache__", "assets"))
    for name in ("dvc.yaml", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, root)


def written(root: Path) -> dict[str, str]:
    """Fingerprints by stage, made as DVC makes them."""
    environment = os.environ | {"PYTHONPATH": str(root / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run(
        [sys.executable, "-m", "vist3a_app.fingerprints"], cwd=root, env=environment, check=True, timeout=300
    )
    return {path.stem: path.read_text() for path in (root / fingerprints.FOLDER).iterdir()}


def test_words_make_nothing_stale_and_code_its_users(tree: Path) -> None:
    """Lines of a fingerprint are each of one module alone, so many edits are seen in one run."""
    before = written(tree)
    assert before.keys() == ALL
    for path in (tree / "src").rglob("*.py"):
        text = path.read_text()
        words = text.replace(QUOTES, f"{QUOTES}Words. ", 1) if text.startswith(QUOTES) else text
        path.write_text(f"# A comment.\n{words}\n\n")
    assert written(tree) == before
    for module in USERS:
        with (tree / "src" / f"{module.replace('.', '/')}.py").open("a") as file:
            file.write("CHANGED = True\n")
    after = written(tree)
    for module, users in USERS.items():
        stale = {stage for stage in ALL if set(_of(after[stage], module)) != set(_of(before[stage], module))}
        assert stale == users, module
    unchanged = [_without(text, USERS) for text in (*before.values(), *after.values())]
    assert unchanged[: len(ALL)] == unchanged[len(ALL) :]


def _of(text: str, module: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(f"{module} ")]


def _without(text: str, modules: Mapping[str, Any]) -> list[str]:
    return [line for line in text.splitlines() if line.split()[0] not in modules]


def test_dvc_repro_alone_sees_one_changed_line(tmp_path: Path) -> None:
    """DVC itself on the real fingerprints, with stages that are done at once."""
    create(tmp_path)
    real = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]
    stages = {"fingerprints": real["fingerprints"]}
    for name, above in {"curate": [], "score": ["curate.txt"], "claims": ["curate.txt"]}.items():
        stages[name] = {
            "cmd": f"echo {name} > {name}.txt",
            "deps": [f"data/fingerprints/{name}.txt", *above],
            "params": real[name]["params"],
            "outs": [{f"{name}.txt": {"cache": False}}],
        }
    (tmp_path / "claims.txt").touch()
    stages["claims"]["frozen"] = True
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}, sort_keys=False))
    dvc(tmp_path, "init", "-q", "--no-scm")
    assert ran(tmp_path) == ["fingerprints", "curate", "score"]
    ridge = tmp_path / "src" / "vist3a" / "stitching" / "ridge.py"
    ridge.write_text(ridge.read_text().replace(QUOTES, f"{QUOTES}Words. ", 1))
    assert ran(tmp_path) == ["fingerprints"]
    ridge.write_text(f"{ridge.read_text()}\nCHANGED = True\n")
    assert ran(tmp_path) == ["fingerprints", "score"]


def dvc(root: Path, *words: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(root / "src"), "DVC_NO_ANALYTICS": "1"}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = [sys.executable, "-m", "dvc", *words]
    return subprocess.check_output(command, cwd=root, env=environment | {"PATH": path}, text=True, timeout=300)


def ran(root: Path) -> list[str]:
    """Stages that `dvc repro` runs."""
    return re.findall(r"Running stage '(\w+)'", dvc(root, "repro"))


def test_every_package_of_the_library_is_seen() -> None:
    modules = (REPOSITORY / "src" / "vist3a").glob("*/*.py")
    packages = {path.parent.name for path in modules if path.name != "__init__.py"}
    assert packages <= {module.split(".")[1] for module in USERS}


def modules_of(root: Path, name: str) -> set[str]:
    stage = yaml.safe_load((root / "dvc.yaml").read_text())["stages"][name]
    return fingerprints.modules(root, name, stage, fingerprints.catalog_entries(root, name, stage))


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """Another project on the code of this one, which may name other parts."""
    shutil.copytree(REPOSITORY / "conf", tmp_path / "conf")
    shutil.copy(REPOSITORY / "dvc.yaml", tmp_path)
    yield tmp_path
    fingerprints._closure.cache_clear()


def family(root: Path, generator: str) -> None:
    file = root / "conf" / "base" / "parameters" / "networks.yml"
    file.write_text(file.read_text().replace("family: wan", f"family: {generator}"))


def test_another_pairing_has_other_code(elsewhere: Path) -> None:
    family(elsewhere, "svd")
    found = modules_of(elsewhere, "extract")
    assert {"vist3a.generators.svd", "vist3a.networks.anysplat"} <= found
    assert not found & {"vist3a.generators.wan", "vist3a.networks.vggt"}


def test_parts_of_others_count(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a package, with what it imports, or in one file."""
    for name, text in {
        "theirs/__init__.py": "",
        "theirs/net.py": "from theirs.inner import x\nfrom vist3a.generators.svd import SVDGenerator\n",
        "theirs/inner.py": "x = 1\n",
        "theirs/other.py": "",
        "alone.py": "x = 1\n",
    }.items():
        path = elsewhere / "parts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(elsewhere / "parts")
    family(elsewhere, "theirs.net:Net")
    file = elsewhere / "conf" / "base" / "parameters" / "evaluate.yml"
    file.write_text(file.read_text().replace("  judge: data/06_models/embedded/judge", '  judge: "alone:Judge"'))
    found = modules_of(elsewhere, "evaluate")
    assert {"theirs", "theirs.net", "theirs.inner", "vist3a.generators.svd", "alone"} <= found
    assert "theirs.other" not in found
    assert fingerprints._closure(elsewhere).file("alone") == elsewhere / "parts" / "alone.py"


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        (None, "dual_encoder"),
        ({"tower": "conv"}, "dual_encoder"),
        ({"scorer": "mine"}, "mine"),
    ],
)
def test_a_folder_says_which_scorer_it_is(tmp_path: Path, config: dict[str, str] | None, kind: str) -> None:
    if config is not None:
        (tmp_path / "one").mkdir()
        (tmp_path / "one" / "config.json").write_text(json.dumps(config))
    assert fingerprints._scorer(tmp_path / "one") == kind
    assert fingerprints._scorer(tmp_path) == "", "a folder of other weights"


def test_what_an_import_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in {
        "__init__.py": "",
        "first.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import tree_of_imports.typed\n"
        "def f():\n    from tree_of_imports.deep import inner\n",
        "typed.py": "",
        "deep/__init__.py": "import tree_of_imports.above\n",
        "deep/inner.py": "",
        "above.py": "",
    }.items():
        path = tmp_path / "tree_of_imports" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    graph = ImportClosure(["tree_of_imports", "no_such_package"])
    names = {"tree_of_imports", "tree_of_imports.first", "tree_of_imports.deep", "tree_of_imports.deep.inner"}
    assert graph.of(["tree_of_imports.first"]) == names | {"tree_of_imports.above"}
    assert graph.file("tree_of_imports.deep") == tmp_path / "tree_of_imports" / "deep" / "__init__.py"
    assert "no_such_package" not in graph and "tree_of_imports.typed" in graph

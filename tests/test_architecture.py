"""Rules that keep the house easy to see: sizes, names, who may import what, and nothing heavy at import."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import project_graph
import pytest

MODULE_LINES, NODES_LINES = 350, 120
# A name that says nothing about its content attracts everything.
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "tools"}
HEAVY = ("mlflow", "diffusers", "transformers", "gsplat", "av", "matplotlib", "peft", "numba")
# Concrete networks are found by name: code outside of their packages sees contracts. The laboratory trains its own.
NETWORK = re.compile(
    r"vist3a\.(generators\.(wan|cogvideox|hunyuan_video|svd)|networks\.(vggt|anysplat|mvdust3r|depth_anything3)|scorers\.\w+)\b"
)
KNOWS_NETWORKS = (
    "vist3a.generators.",
    "vist3a.networks.",
    "vist3a.scorers.",
    "vist3a.alignment.reward_models.",
    "vist3a_lab.",
)

SOURCES = sorted(project_graph.modules().values())


def relative(path: Path) -> str:
    return str(path.relative_to(project_graph.REPOSITORY))


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_modules_are_short(path: Path) -> None:
    limit = NODES_LINES if path.name == "nodes.py" else MODULE_LINES
    lines = len(path.read_text().splitlines())
    assert lines <= limit, f"{relative(path)} has {lines} lines; at most {limit}: what else is in it?"


def test_names_say_something() -> None:
    assert [relative(p) for p in SOURCES if {p.stem, p.parent.name} & EMPTY_NAMES] == []


def test_concrete_networks_are_known_in_one_place() -> None:
    offences = [
        f"{module} imports {name}"
        for module, path in project_graph.modules().items()
        if not f"{module}.".startswith(KNOWS_NETWORKS)
        for name in project_graph.imported_names(path)
        if NETWORK.match(name) and name in project_graph.modules()
    ]
    assert offences == []


def test_nothing_heavy_is_imported_before_a_node_runs() -> None:
    program = f"""
import json, sys
from kedro.config import OmegaConfigLoader
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
bootstrap_project({str(project_graph.REPOSITORY)!r})
with KedroSession.create({str(project_graph.REPOSITORY)!r}) as session:
    context = session.load_context()
    names = list(context.catalog.keys())
    list(pipelines)
print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []


def test_the_command_line_loads_no_tensor_library() -> None:
    program = "import sys, vist3a_app.settings; print([n for n in ('torch', 'mlflow', 'pandas') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=600)
    assert done.stdout.strip() == "[]"


def test_the_networks_load_without_any_framework() -> None:
    unneeded = (
        "kedro",
        "mlflow",
        "dvc",
        "pydantic",
        "omegaconf",
        "diffusers",
        "transformers",
        "peft",
        "gsplat",
        "pandas",
    )
    program = f"""
import sys
import vist3a.pairing
import vist3a.networks.depth_anything3
print([name for name in {unneeded!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=600)
    assert done.stdout.strip() == "[]"


# Of every stage that trains or measures something.
PLAIN = {"seed", "batch", "loop"}
# Networks say their sizes in a ``Config``, too; these are no knobs of a run.
SETTINGS = re.compile(r"(Config|Settings|Weights|Limits|Schedule|Shape|Size)$")


def declared_fields() -> Iterator[tuple[str, str, set[str], bool]]:
    """Module, class, own fields and whether it is typed parameters; of classes that read or take settings."""
    classes = [
        (module, node)
        for module, path in project_graph.modules().items()
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef)
    ]
    typed = {"Strict"}
    # Parameters derive from Strict, in one or several steps.
    while new := {n.name for _, n in classes if {ast.unparse(b) for b in n.bases} & typed} - typed:
        typed |= new
    for module, node in classes:
        own = {s.target.id for s in node.body if isinstance(s, ast.AnnAssign) and isinstance(s.target, ast.Name)}
        if node.name in typed and not module.startswith("vist3a."):
            yield module, node.name, own, True
        elif SETTINGS.search(node.name) and not module.startswith(("vist3a.networks.", "vist3a_lab.scorers.")):
            yield module, node.name, own, False


def test_a_knob_is_declared_once() -> None:
    """Parameters are composed of the settings classes: two fields or more of one of them beside each other are a copy."""
    found = list(declared_fields())
    settings = {name: own for _, name, own, typed in found if not typed}
    assert {
        "AlignSettings",
        "DistillSettings",
        "SamplingConfig",
        "LoopConfig",
        "TapConfig",
        "Limits",
    } <= settings.keys()
    copies = [
        f"{module}.{name} declares {', '.join(sorted(both))} of {other}"
        for module, name, own, typed in found
        if typed
        for other, fields in settings.items()
        if len(both := (own & fields) - PLAIN) >= 2
    ]
    assert copies == []

"""The library without the application: nothing of Kedro, MLflow, DVC or the embedded world can be imported."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import vist3a

REPOSITORY = Path(__file__).resolve().parents[1]
BLOCKED = ("kedro", "mlflow", "dvc", "pydantic", "omegaconf", "vist3a_app", "vist3a_lab")
PROGRAM = f"""
import sys
for name in {BLOCKED}:
    sys.modules[name] = None
import torch
import vist3a
from stitching.test_decoder import clips
from tiny_networks import tiny_generator, tiny_network

generator, network = tiny_generator(dtype=torch.float32), tiny_network(dtype=torch.float32)
given = [vist3a.Clip(clip.name, clip.frames.float()) for clip in clips(6)]
found = vist3a.find_layer(generator, network, given, kinds=("encoder",), kernel=(3, 3, 3), ridges=(1e-3, 1e-1))
assert [score.point for score in found.scores] == [p.name for p in network.stitch_points if p.kind == "encoder"]
assert len(found.table()) == len(found.scores) and found.best.complete
decoder = vist3a.stitch(generator, network, given, kinds=("encoder",), kernel=(3, 3, 3), ridges=(1e-3, 1e-1))
assert decoder.point == found.best.point
assert torch.equal(decoder.layer.conv.weight, found.decoder(network).layer.conv.weight)
frames = given[0].frames[None]
scene = vist3a.reconstruct(frames, decoder, generator)
assert scene.depth.shape[:2] == frames.shape[:2] and bool(scene.depth.isfinite().all())
assert torch.equal(vist3a.reconstruct(frames, network).depth, network.reconstruct(frames).depth)
try:
    vist3a.reconstruct(frames, network, generator)
except ValueError as error:
    print(error)
try:
    vist3a.find_layer(generator, network, given[:2])
except ValueError as error:
    print(error)
try:
    vist3a.find_layer(generator, network, given, kinds=("encodr",))
except ValueError as error:
    print(error)
"""


def test_layer_search_stitching_and_reconstruction_need_the_library_alone() -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = [{str(REPOSITORY / 'tests')!r}]\n{PROGRAM}"],
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "reconstruct: a stitched decoder is allowed with its generator, a 3D network without one",
        "2 clips passed the checks; at least 3 are needed, one for each of fit, selection, heldout",
        "kinds: encodr; allowed for AnySplat: encoder, aggregator",
    ]


def test_every_public_name_is_there_for_programs_and_for_checkers_of_types() -> None:
    named = ast.parse((REPOSITORY / "src" / "vist3a" / "__init__.py").read_text())
    typed = {
        (alias.asname, node.module)
        for node in ast.walk(named)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("vist3a.")
        for alias in node.names
    }
    public = set(vist3a.__all__) - {"__version__"}
    assert {name for name, _ in typed} == public
    assert all(getattr(vist3a, name) is getattr(import_module(module), name) for name, module in typed)


EMBEDDED = REPOSITORY / "data" / "06_models" / "embedded"


@pytest.mark.skipif(
    not (EMBEDDED / "generator").is_dir(), reason="the embedded networks are not here: dvc pull pretrain"
)
def test_the_embedded_networks_load_from_a_folder_of_weights() -> None:
    program = f"""
import sys
for name in {BLOCKED}:
    sys.modules[name] = None
import torch
import vist3a
generator = vist3a.load_generator("wan", {str(EMBEDDED / "generator")!r}, parts=("vae",))
network = vist3a.load_reconstruction("anysplat", {str(EMBEDDED / "reconstruction")!r})
frames = torch.rand(1, 5, 3, 64, 64, generator=torch.Generator().manual_seed(0))
print(tuple(vist3a.reconstruct(frames, network).depth.shape), tuple(generator.encode(frames).shape[:2]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("(1, 5, 64, 64) (1, ")

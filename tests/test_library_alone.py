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

from vist3a.adapters.lora import add_lora
from vist3a.alignment.rewards.terms import weighted_terms
from vist3a.stitching.tuning import prepare

def trained(module):
    return torch.cat([p.detach().flatten() for p in module.parameters() if p.requires_grad])

loop = vist3a.LoopConfig(steps=1, learning_rate=1e-3, warmup=0)
student = vist3a.stitch(generator, tiny_network(dtype=torch.float32), given, kinds=("encoder",), kernel=(3, 3, 3))
prepare(student, "full", 0, 0.0)
before = trained(student)
vist3a.distill(
    student, network, generator, given, vist3a.DistillSettings(seed=0, batch=1, views=(5,), loop=loop),
)
assert not torch.equal(trained(student), before)
add_lora(generator.denoiser, 2, 4.0, ["to_q", "to_v"], seed=0)
before = trained(generator.denoiser)
size = dict(frames=5, height=frames.shape[-2], width=frames.shape[-1])
vist3a.align(
    generator, student.requires_grad_(False).eval(), weighted_terms({{"camera_smoothness": 1.0}}, {{}}, None),
    vist3a.AlignData(["a red ball"], given, generator.embed),
    vist3a.AlignSettings(
        seed=0, **size, prompts_per_step=1, clips_per_step=1, denoising_steps=2, gradient_steps=1, guidance=1.5,
        scored_views=2, generative_weight=0.5, loop=loop,
    ),
)
assert not torch.equal(trained(generator.denoiser), before)
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


def test_layer_search_stitching_training_and_reconstruction_need_the_library_alone() -> None:
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

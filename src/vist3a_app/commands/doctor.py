"""What this machine has and lacks, in words: ``vist3a doctor``."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import click

from vist3a_app.configuration import EMBEDDED_NETWORKS

PACKAGES = ("torch", "diffusers", "transformers", "gsplat", "kedro", "mlflow", "dvc")
GIB = 2**30


@click.command()
@click.option("--pair", metavar="G+N", help="Are the weights of this pairing here?")
def doctor(pair: str | None) -> None:
    """Say what there is (GPU, packages, weights, room on the disk) and what is missing, with the remedy."""
    lacking = 0
    for well, line in findings(pair):
        lacking += not well
        click.echo(f"{'ok     ' if well else 'missing'}  {line}")
    if lacking:
        raise SystemExit(1)


def findings(pair: str | None) -> Iterator[tuple[bool, str]]:
    """(Well or not, a line) for everything that is looked at."""
    yield sys.version_info >= (3, 11), f"Python {sys.version.split()[0]} (3.11 or later is needed)"
    yield from _packages()
    yield from _gpu()
    free = shutil.disk_usage(Path.cwd()).free / GIB
    yield free > 2, f"{free:.0f} GiB free on the disk of {Path.cwd()} (the embedded chain takes 1)"
    yield from _embedded() if pair is None else _weights(pair)


def _packages() -> Iterator[tuple[bool, str]]:
    for name in PACKAGES:
        try:
            yield True, f"{name} {version(name)}"
        except PackageNotFoundError:
            yield False, f"{name}: pip install {name}"


def _gpu() -> Iterator[tuple[bool, str]]:
    import torch

    if not torch.cuda.is_available():
        # Nothing is missing: the embedded chain needs none.
        yield True, "no GPU with CUDA: the embedded networks run on the CPU, public ones need a GPU"
        return
    for index in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(index)
        yield True, f"{about.name}, {about.total_memory / GIB:.0f} GiB"
    try:
        # Importing it builds the kernels where they are not built yet.
        from gsplat.cuda import _backend

        built = _backend._C is not None
    except Exception as error:  # whatever the build ends in
        yield False, f"gsplat's kernels: {type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
    else:
        yield built, "gsplat's kernels" if built else "gsplat's kernels: a CUDA compiler (nvcc) is needed to build them"


def _embedded() -> Iterator[tuple[bool, str]]:
    here = all((Path(EMBEDDED_NETWORKS) / name).is_dir() for name in ("generator", "reconstruction"))
    yield here, f"the embedded networks in {EMBEDDED_NETWORKS}" + ("" if here else ": dvc pull pretrain")


def _weights(pair: str) -> Iterator[tuple[bool, str]]:
    from vist3a import presets
    from vist3a.weights.known import KnownWeights
    from vist3a_app.hooks.public_pairing import weights_are_here, weights_needed

    named = presets.pair(pair).get("networks", {})
    # A pairing of the embedded networks names no source.
    networks = {kind: {"source": "", **named.get(kind, {})} for kind in ("generator", "reconstruction")}
    for name, entry in weights_needed({"networks": networks}, {"networks"}, KnownWeights.read()):
        here = weights_are_here(name, entry, networks)
        yield (
            here,
            f"{name}: {entry.repo}, licence {entry.licence}" + ("" if here else " (downloaded at the first run)"),
        )

"""``kill_driver.py FOLDER``: runs the extract node in processes of their own, kills some; see ``test_extract_killed.py``.

FOLDER holds the networks, the clips and their index. Prints a line per kill with the number of finished shards. The undisturbed
run goes to ``whole``, the one killed five times to ``killed``.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import pandas as pd
import torch

from vist3a_app.pipelines.extract.nodes import extract_moments
from vist3a_app.pipelines.extract.params import ExtractParams
from vist3a_app.pipelines.networks import Networks
from vist3a_app.pipelines.workers import Workers

# Imported here, so that the forked processes start with the work at once.
import diffusers.models.autoencoders.autoencoder_kl_wan  # noqa: F401  isort: skip

PARAMS = ExtractParams(
    seed=3,
    kinds=("encoder", "aggregator"),
    kernel=(3, 3, 3),
    stride=None,
    padding=None,
    padding_mode="replicate",
    interpolation="corners",
    latents="sample",
    latent_space="normalised",
    batch=2,
    shard=3,
)


def extract(root: Path, name: str) -> None:
    """One run of the node, as Kedro would do it."""
    torch.set_num_threads(1)
    networks = Networks.model_validate(
        {
            "device": "cpu",
            "generator": {"family": "wan", "source": str(root / "generator")},
            "reconstruction": {"family": "anysplat", "source": str(root / "reconstruction")},
        }
    )
    index = pd.read_parquet(root / "clip_index.parquet")
    save, _ = extract_moments(PARAMS, networks, Workers(), root / "clips", index, root / f"checkpoints-{name}")
    (root / name).mkdir()
    save(root / name)


def start(root: Path, name: str) -> int:
    """A process that extracts; its number."""
    pid = os.fork()
    if pid == 0:
        try:
            extract(root, name)
        except BaseException as error:
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)
    return pid


def finish(pid: int) -> None:
    """Wait for a process to end well."""
    if os.waitpid(pid, 0)[1] != 0:
        raise SystemExit("extract failed")


def shards(root: Path) -> int:
    """Finished shards of the run that is killed."""
    while True:
        try:
            return len([*root.rglob("checkpoints-killed/**/shard-*.safetensors")])
        except FileNotFoundError:  # a temporary folder of the run went while it was looked into
            continue


def main() -> None:
    """An undisturbed run, five killed ones, and one that finishes what they left."""
    root, dice = Path(sys.argv[1]), random.Random(int(sys.argv[2]))
    begun = time.monotonic()
    finish(start(root, "whole"))
    seconds = time.monotonic() - begun
    for _ in range(5):
        pid, wanted = start(root, "killed"), shards(root) + dice.randint(0, 1)
        while shards(root) < wanted:
            time.sleep(0.001)
        # Anywhere: while loading, within a shard, while one is written.
        time.sleep(dice.uniform(0, 0.1) * seconds)
        os.kill(pid, signal.SIGKILL)
        status = os.waitpid(pid, 0)[1]
        sys.stdout.write(f"{'killed' if os.WIFSIGNALED(status) else 'finished'} {shards(root)}\n")
    finish(start(root, "killed"))


if __name__ == "__main__":
    main()

"""``processes_driver.py FOLDER PORT``: the same alignment step by one process and by two; see ``test_processes.py``.

Leaves ``one.pt`` and ``two.pt``, the checkpoints, which hold what the optimiser saw, and ``one.json``, ``two.json``, the logs.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch
from tiny_alignment import PROMPTS, RENDERED, decoder, scorer
from tiny_networks import tiny_generator, tiny_network

from vist3a.adapters.lora import add_lora
from vist3a.alignment.align import AlignData, AlignRun, align
from vist3a.alignment.align_settings import AlignSettings
from vist3a.alignment.rewards.diversity import Diversity
from vist3a.alignment.rewards.one_scorer import reward_from
from vist3a.alignment.rewards.weighted_sum import WeightedSum
from vist3a.records import Clip
from vist3a.runtime.loop import LoopConfig
from vist3a.runtime.processes import joined
from vist3a.stitching.decoder import StitchedDecoder

RUNS = [("one", 0, 1), ("two", 0, 2), ("two", 1, 2)]
CPU = torch.device("cpu")
SETTINGS = AlignSettings(
    seed=3,
    prompts_per_step=6,
    noises_per_prompt=2,
    clips_per_step=2,
    denoising_steps=(3, 4),
    gradient_steps=1,
    guidance=(1.5, 3.0),
    scored_views=2,
    generative_weight=0.5,
    frames=5,
    height=16,
    width=16,
    term_gradients_every=1,
    variant="released",
    loop=LoopConfig(steps=2, learning_rate=1e-2, warmup=0, gradient_clip=1e9, log_every=1, ema=None),
)


def reward() -> WeightedSum:
    """Pictures, and how far the rollouts of a prompt are apart, which is asked of all of a step together."""
    pictures = reward_from(scorer(1), RENDERED)
    apart = Diversity(lambda first, second: (first - second).square().mean((1, 2, 3)), 10.0)
    return WeightedSum({**pictures.terms, "diversity": apart}, {**pictures.weights, "diversity": 1.0})


def train(stitched: StitchedDecoder, folder: Path, name: str) -> None:
    """Two steps by the processes that the environment tells of."""
    generator = tiny_generator()
    add_lora(generator.denoiser, 2, 4.0, ["to_q", "to_v"], seed=0)
    generator.denoiser.to(torch.float64)
    torch.manual_seed(1)
    clips = [Clip(f"c{i}", torch.rand(5, 3, 16, 16).double(), prompt) for i, prompt in enumerate(PROMPTS)]
    logged: dict[int, dict[str, float]] = {}
    with joined(CPU) as processes:
        run = AlignRun(folder / f"{name}.pt", lambda step, scalars: logged.update({step: dict(scalars)}))
        data = AlignData(PROMPTS, clips, generator.embed)
        align(generator, stitched, reward(), data, SETTINGS, run)
        weights = torch.cat([p.detach().flatten() for p in generator.denoiser.parameters() if p.requires_grad])
        torch.save(weights, folder / f"{name}-{processes.rank}.pt")
    if processes.first:
        (folder / f"{name}.json").write_text(json.dumps(logged))
    elif logged:
        raise AssertionError("a process behind the first one logged")


def start(stitched: StitchedDecoder, folder: Path, name: str, rank: int, count: int, port: str) -> int:
    """A process with what torchrun would have told it; its number."""
    pid = os.fork()
    if pid == 0:
        told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        os.environ.update({key: str(value) for key, value in told.items()})
        try:
            train(stitched, folder, name)
        except BaseException as error:
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)
    return pid


def main() -> None:
    """One, then two."""
    folder, port = Path(sys.argv[1]), sys.argv[2]
    torch.set_num_threads(1)
    torch.manual_seed(0)
    stitched = decoder(tiny_network())
    pids = [start(stitched, folder, name, rank, count, port) for name, rank, count in RUNS]
    if [status for pid in pids if (status := os.waitpid(pid, 0)[1])]:
        raise SystemExit("a process failed")


if __name__ == "__main__":
    main()

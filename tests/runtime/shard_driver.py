"""``shard_driver.py FOLDER PORT DEVICE``: an alignment by one process, and by two that share the frozen weights.

Leaves ``one.pt`` and ``sharded.pt``, checkpoints of three steps; ``resumed.pt``, begun by the two processes and ended by one; the
adapter ``sharded``; and ``found-RANK.json``: the frozen elements that a process holds, and what sharding changes in the answers
of every generator (see ``test_shard.py``).
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from tiny_alignment import PROMPTS, decoder, scorer
from tiny_generators import KINDS, tiny
from tiny_networks import tiny_generator, tiny_network
from torch import Tensor

from vist3a.adapters.lora import add_lora, save_lora
from vist3a.alignment.align import AlignData, AlignRun, align
from vist3a.alignment.align_settings import AlignSettings
from vist3a.alignment.rewards.one_scorer import reward_from
from vist3a.generators.base import VideoGenerator
from vist3a.records import Clip
from vist3a.rendering import renderer_for
from vist3a.runtime.launch import Processes
from vist3a.runtime.loop import LoopConfig
from vist3a.runtime.processes import joined
from vist3a.runtime.shard import shard_frozen
from vist3a.stitching.decoder import StitchedDecoder

STEPS, STOP = 3, 2
# Three prompts are shared unequally by two processes; nothing is rendered, so that every device can run it in float64.
SETTINGS = AlignSettings(
    seed=3, prompts_per_step=3, clips_per_step=2, denoising_steps=(3, 4), gradient_steps=1, guidance=(1.5, 3.0), scored_views=2,
    generative_weight=0.5, frames=5, height=16, width=16, variant="released",
    loop=LoopConfig(steps=STEPS, learning_rate=1e-2, warmup=0, gradient_clip=1e9, ema=0.9, checkpoint_every=1),
)  # fmt: skip


class Stop(Exception):
    """Ends a training as a kill would: its checkpoint stays."""


def generator_on(device: torch.device) -> VideoGenerator:
    generator = tiny_generator()
    add_lora(generator.denoiser, 2, 4.0, ["to_q", "to_v"], seed=0)
    generator.to(device, torch.float64)
    return generator


def train(
    stitched: StitchedDecoder, generator: VideoGenerator, checkpoint: Path, device: torch.device, stop: int
) -> None:
    """Three steps, or fewer; from the checkpoint where there is one."""
    random = torch.Generator().manual_seed(1)
    clips = [Clip(f"c{i}", torch.rand(5, 3, 16, 16, generator=random).double(), text) for i, text in enumerate(PROMPTS)]

    def watch(step: int) -> dict[str, Tensor]:
        if step == stop:
            raise Stop
        return {}

    with suppress(Stop):
        align(
            generator,
            stitched,
            reward_from(scorer(1).to(device), {"text_decoded": 1.0}),
            AlignData(PROMPTS, clips, generator.embed),
            SETTINGS,
            AlignRun(checkpoint, watch=watch),
            renderer_for(torch.device("cpu")),
        )


def held(network: torch.nn.Module) -> dict[str, int]:
    """Frozen elements of the network, and those in the memory of this process."""
    frozen = [p for p in network.parameters() if not p.requires_grad]
    local = [getattr(p, "to_local", lambda p=p: p)() for p in frozen]
    return {"all": sum(p.numel() for p in frozen), "here": sum(p.numel() for p in local)}


def run_sharded(stitched: StitchedDecoder, folder: Path, device: torch.device, processes: Processes) -> dict[str, int]:
    """Two steps, then anew from the checkpoint to the end, now with recomputed blocks; see :func:`held`."""
    for stop in (STOP, -1):
        generator = generator_on(device)
        if stop == -1:
            generator.checkpoint_gradients()
        shard_frozen(generator.denoiser, processes)
        train(stitched, generator, folder / "sharded.pt", device, stop)
        torch.distributed.barrier()
        if stop == STOP and processes.first:
            shutil.copy(folder / "sharded.pt", folder / "resumed.pt")
        torch.distributed.barrier()
    if processes.first:
        save_lora(generator.denoiser, folder / "sharded")
    return held(generator.denoiser)


def answers(generator: VideoGenerator, device: torch.device) -> list[Tensor]:
    """What the denoiser says without and with a graph, and the gradients of its adapter."""
    shape = generator.latent_grid(9, 32, 32)
    random = torch.Generator().manual_seed(0)
    noisy = torch.randn(1, *shape, generator=random).to(device)
    condition, level = generator.embed(["a red ball"]), torch.tensor([500.0], device=device)
    trained = [p for p in generator.denoiser.parameters() if p.requires_grad]
    with torch.no_grad():
        found = [generator.prediction(noisy, level, condition)]
    for _ in range(2):  # a second backward pass finds the weights as the first did
        answer = generator.prediction(noisy, level, condition)
        found += [answer.detach(), *torch.autograd.grad(answer.square().sum(), trained)]
    return found


def compare_generators(device: torch.device, processes: Processes) -> dict[str, float]:
    """Largest relative change, by sharding, of what a denoiser of texts says, bfloat16 and partly float32 as published."""
    changes = {}
    for kind in (*KINDS, "wan compiled"):
        generator = tiny(kind.removesuffix(" compiled"))
        if not generator.takes_text:
            continue
        generator.to(device)
        generator.denoiser.to(torch.bfloat16)
        exact = set(generator.denoiser._keep_in_fp32_modules or ())
        for name, parameter in generator.denoiser.named_parameters():
            if exact & set(name.split(".")):
                parameter.data = parameter.data.float()
        add_lora(generator.denoiser, 2, 4.0, ["to_q", "to_v"], seed=0)
        whole = answers(generator, device)
        if kind == "wan compiled":
            generator.checkpoint_gradients()
            compile_blocks(generator, device)
        shard_frozen(generator.denoiser, processes)
        pairs = zip(whole, answers(generator, device), strict=True)
        changes[kind] = max(float((b - a).norm() / a.norm().clamp(min=1e-9)) for a, b in pairs)
    return changes


def compile_blocks(generator: VideoGenerator, device: torch.device) -> None:
    """As ``align.compile`` does on a GPU; elsewhere without the compiler that a test has no time for."""
    if device.type == "cuda":
        generator.compile_for_training()
    else:
        generator.denoiser.compile_repeated_blocks(fullgraph=True, dynamic=False, backend="aot_eager")


def memory_of_a_large_one(device: torch.device, processes: Processes) -> dict[str, int]:
    """Bytes on the GPU for a denoiser of 16 wide blocks: whole, sharded, and at most while a sharded one takes a gradient."""
    from diffusers import WanTransformer3DModel

    with device:
        network = WanTransformer3DModel(num_attention_heads=12, attention_head_dim=128, ffn_dim=8960, num_layers=16)
    network.to(torch.bfloat16).requires_grad_(False)
    add_lora(network, 8, 16.0, ["to_q", "to_v"], seed=0)
    network.enable_gradient_checkpointing()
    found = {"whole": torch.cuda.memory_allocated(device)}
    shard_frozen(network, processes)
    found["sharded"] = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    noisy, text = (
        torch.randn(shape, device=device, dtype=torch.bfloat16) for shape in ((1, 16, 2, 8, 8), (1, 8, 4096))
    )
    for _ in range(3):
        network(noisy, torch.tensor([500.0], device=device), text, return_dict=False)[0].sum().backward()
    torch.cuda.synchronize(device)
    return found | {"peak": torch.cuda.max_memory_allocated(device)}


def work(folder: Path, kind: str, name: str) -> None:
    """One process, told by its environment what it is."""
    torch.manual_seed(0)
    stitched, device = decoder(tiny_network()), torch.device(kind)
    with joined(device) as processes:
        if device.type == "cuda":
            device = torch.device("cuda", torch.cuda.current_device())
        stitched.to(device)
        if name == "sharded":
            found: dict[str, Any] = {"held": run_sharded(stitched, folder, device, processes)}
            found["changes"] = compare_generators(device, processes)
            if device.type == "cuda":
                found["memory"] = memory_of_a_large_one(device, processes)
            (folder / f"found-{processes.rank}.json").write_text(json.dumps(found))
        else:
            generator = generator_on(device)
            shard_frozen(generator.denoiser, processes)
            train(stitched, generator, folder / f"{name}.pt", device, -1)


def start(folder: Path, kind: str, name: str, rank: int, count: int, port: str) -> int:
    """A process with what torchrun would have told it; its number."""
    told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    environment = os.environ | {key: str(value) for key, value in told.items()}
    if kind == "cuda":  # which a forked process cannot use
        arguments = [sys.executable, "-W", "ignore", __file__, str(folder), port, kind, name]
        return os.spawnve(os.P_NOWAIT, sys.executable, arguments, environment)
    pid = os.fork()
    if pid == 0:
        os.environ.update(environment)
        try:
            work(folder, kind, name)
        except BaseException:
            import traceback

            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)
    return pid


def main() -> None:
    """One beside two, then one from what two have left."""
    folder, port, kind = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    torch.set_num_threads(1)
    if len(sys.argv) > 4:
        work(folder, kind, sys.argv[4])
        return
    for runs in ([("one", 0, 1), ("sharded", 0, 2), ("sharded", 1, 2)], [("resumed", 0, 1)]):
        pids = [start(folder, kind, name, rank, count, port) for name, rank, count in runs]
        if [status for pid in pids if (status := os.waitpid(pid, 0)[1])]:
            raise SystemExit("a process failed")


if __name__ == "__main__":
    main()

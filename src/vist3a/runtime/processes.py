"""Sums and turns over the processes that train one network: each holds all of it and takes its share of every step."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import Tensor

from vist3a.runtime.launch import ALONE, Processes, started

# The first process may embed thousands of prompts, or look at the generator, while the others wait.
PATIENCE = timedelta(hours=6)


@contextmanager
def joined(device: torch.device) -> Iterator[Processes]:
    """Connect the processes for the length of the block, each on a GPU of its own where ``device`` is CUDA.

    ValueError when this machine has fewer GPUs than processes.
    """
    processes = started()
    if processes.count == 1:
        yield processes
        return
    own = None
    if device.type == "cuda":
        local, found = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        if local >= found:
            raise ValueError(f"torchrun --nproc-per-node: more processes than GPUs; allowed here: at most {found}")
        torch.cuda.set_device(local)
        own = torch.device("cuda", local)
    torch.distributed.init_process_group("gloo" if own is None else "nccl", timeout=PATIENCE, device_id=own)
    try:
        yield processes
    finally:
        torch.distributed.destroy_process_group()


def connected() -> Processes:
    """The processes that are connected now."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return Processes(torch.distributed.get_rank(), torch.distributed.get_world_size())
    return ALONE


def sum_over(processes: Processes, tensors: Sequence[Tensor]) -> None:
    """Replace tensors of one device by their sums over all processes, the same bits everywhere."""
    if processes.count == 1:
        return
    # One message for all of them.
    flat = torch.cat([tensor.detach().flatten() for tensor in tensors])
    torch.distributed.all_reduce(flat)
    for tensor, total in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.detach().copy_(total.view_as(tensor))


@contextmanager
def first_one_first(processes: Processes) -> Iterator[None]:
    """The others enter when the first process has left.

    Raises:
        RuntimeError: In the others, when the first process ended its block with an error, which it raises itself.
    """
    if not processes.first:
        if not _told(False):
            raise RuntimeError("the first process failed before this one could go on; its own message says why")
        yield
        return
    try:
        yield
    except BaseException:
        # Otherwise the others would wait for as long as PATIENCE allows.
        if processes.count > 1:
            _told(False)
        raise
    if processes.count > 1:
        _told(True)


def _told(well: bool) -> bool:
    """What the first process says about its block, in all processes; it waits for the others to hear."""
    device = "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
    word = torch.tensor([int(well)], device=device)
    # A sum that only the first process adds to. Unlike a broadcast it ends when all have come, as a barrier does.
    torch.distributed.all_reduce(word)
    return bool(word.item())

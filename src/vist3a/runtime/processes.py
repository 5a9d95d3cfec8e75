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
    """The others enter when the first process has left."""
    # One barrier, met by the first process at the end of its block and by the others before theirs.
    if not processes.first:
        torch.distributed.barrier()
    yield
    if processes.first and processes.count > 1:
        torch.distributed.barrier()

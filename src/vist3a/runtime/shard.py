"""Frozen weights shared out over the processes that train one network (FSDP2): each holds its part of every one of them.

What is trained stays whole in every process, so that gradients, optimiser, moving average and checkpoints are those of a network
that is not sharded. A block's weights are gathered when it runs, forward or backward, and let go afterwards: every process must
run the network equally often.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from vist3a.runtime.launch import Processes


def shard_frozen(denoiser: Any, processes: Processes) -> None:
    """Leave in this process its part, along the first axis, of every parameter that requires no gradient; in place.

    The connected processes hold equal networks, with their adapters, on the device they compute on. One process keeps all.
    """
    if processes.count == 1:
        return
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(next(denoiser.parameters()).device.type, (processes.count,))
    trained = {parameter for parameter in denoiser.parameters() if parameter.requires_grad}
    # Blocks first: the outermost call takes what no block has taken.
    for module in (*_blocks(denoiser), denoiser):
        fully_shard(module, mesh=mesh, reshard_after_forward=True, ignored_params=trained)


def _blocks(denoiser: nn.Module) -> list[nn.Module]:
    """What the denoisers of diffusers keep in lists: their repeated blocks, of every kind."""
    return [block for child in denoiser.children() if isinstance(child, nn.ModuleList) for block in child]

"""Compile small networks without graph breaks and compare: a program, because run-time type checks cannot be compiled.

Arguments: kinds of networks. Of each, the whole is compiled (the trunk alone where cameras are found by many rounds of
least squares, which take long to trace), then its blocks.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from reconstruction_cases import assert_close, build, clip, tensors
from torch import Tensor


def compare(kind: str) -> None:
    """AssertionError where something differs, or an error of the compiler where it would have to break the graph."""
    network, frames = build(kind), clip((12, 16), batch=2, views=4)
    graphs: list[torch.fx.GraphModule] = []

    def backend(graph: torch.fx.GraphModule, _: Any) -> Callable[..., Any]:
        graphs.append(graph)
        return graph.forward

    def run(frames: Tensor) -> dict[str, Tensor]:
        if kind.startswith("mvdust3r"):
            return {str(depth): tokens for depth, tokens in network.trunk(frames)[0].items()}
        return tensors(network.reconstruct(frames))

    expected = run(frames)
    assert_close(torch.compile(run, backend=backend, fullgraph=True)(frames), expected, 1e-12)
    assert len(graphs) == 1
    torch.compiler.reset()
    keys, block_calls = list(network.state_dict()), 2 * len(network.stitch_points)
    network.compile_blocks(backend=backend, fullgraph=True)
    assert_close(run(frames), expected, 1e-12)
    assert 1 < len(graphs) < block_calls, "blocks share what is compiled"
    assert list(network.state_dict()) == keys
    torch.compiler.reset()


if __name__ == "__main__":
    with torch.no_grad():
        for kind in sys.argv[1:]:
            compare(kind)

"""What a small adapter costs in a rollout of a denoiser in bfloat16, and how much of it is left, by how it is applied.

Wan 2.1 1.3B with random weights, 13 frames of 512 px, both branches of guidance in one forward pass; an adapter of rank 8 whose
change is a 2,000th of the weights, as 300 steps of 1e-4 make it. What is left of that change is compared with it in float32, over
all weights as one vector.

- merged: added to the weights, which rounds it off (what a plain `fuse_lora` does)
- two products: added to the weights, the rest that rounding leaves in a second matrix of bfloat16
- beside, float32: weights of float32, products in the denoiser's type, as it is trained: the network whose gradient is taken
  (what alignment rolls out)
- beside, bfloat16: its weights, too, in the denoiser's type (what generation runs)

    python benchmarks/adapter_rollout.py --out rollout.json          # CUDA, two minutes
    python benchmarks/adapter_rollout.py --tiny --out rollout.json   # the same code on the CPU in seconds
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from generate import FULL, TARGETS, TINY, Clock
from torch import Tensor, nn
from torch.nn import functional

from vist3a.adapters.lora import ADAPTER, add_lora, merge_lora
from vist3a.generators.wan import WanGenerator
from vist3a.records import Condition
from vist3a_app.rehearsal.random_weights import build

SHARE = 5e-4
"""Size of the adapter's change, of that of the weights."""


class TwoProducts(nn.Module):
    """A linear layer whose weights are the sum of two matrices of half precision."""

    def __init__(self, layer: nn.Linear, delta: Tensor) -> None:
        super().__init__()
        whole = layer.weight.float() + delta.float()
        self.weight, self.bias = nn.Parameter(whole.to(layer.weight.dtype), requires_grad=False), layer.bias
        self.rest = nn.Parameter((whole - self.weight.float()).to(layer.weight.dtype), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """Both products."""
        return functional.linear(x, self.weight, self.bias) + functional.linear(x, self.rest)


def adapted(transformer: Any) -> list[tuple[str, Any]]:
    """Layers with an adapter, by name."""
    return [(name, layer) for name, layer in transformer.named_modules() if hasattr(layer, "lora_B")]


def replace(transformer: Any, make: Callable[[Any], nn.Module]) -> None:
    """Put ``make(layer)`` in the place of every layer with an adapter."""
    for name, layer in adapted(transformer):
        parent, _, child = name.rpartition(".")
        setattr(transformer.get_submodule(parent), child, make(layer))


def merged(transformer: Any) -> None:
    """Into the weights, in their type."""
    transformer.fuse_lora()
    transformer.unload_lora()


def changes(transformer: Any, plain: Any) -> dict[str, Tensor]:
    """By layer, what the network computes with beyond the weights of ``plain``, float32."""
    found = {}
    for name, layer in transformer.named_modules():
        if hasattr(layer, "lora_B"):
            a, b = (getattr(layer, part)[ADAPTER].weight.float() for part in ("lora_A", "lora_B"))
            found[name] = layer.scaling[ADAPTER] * b @ a
        elif isinstance(layer, TwoProducts):
            found[name] = layer.weight.float() + layer.rest.float() - plain.get_submodule(name).weight.float()
        elif isinstance(layer, nn.Linear) and any(name.endswith(f".{end}") for end in TARGETS):
            found[name] = layer.weight.float() - plain.get_submodule(name).weight.float()
    return found


def left(own: Mapping[str, Tensor], whole: Mapping[str, Tensor]) -> dict[str, float]:
    """Cosine of all changes with those in float32, and the share of their entries that is lost."""
    sums = [
        torch.stack([(own[n] * d).sum(), own[n].square().sum(), d.square().sum(), (own[n] == 0).sum().float()]).double()
        for n, d in whole.items()
    ]
    inner, first, second, zero = torch.stack(sums).sum(0).tolist()
    return {"cosine": inner / max(first * second, 1e-300) ** 0.5, "lost": zero / sum(d.numel() for d in whole.values())}


WAYS: Mapping[str, Callable[[Any], None]] = {
    "merged": merged,
    "two products": lambda t: replace(t, lambda one: TwoProducts(one.get_base_layer(), one.get_delta_weight(ADAPTER))),
    "beside, float32": lambda t: None,
    "beside, bfloat16": merge_lora,
}


@torch.no_grad()
def main() -> int:
    """Measure every way, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True, help="JSON with all numbers")
    parser.add_argument("--tiny", action="store_true", help="a tiny denoiser, on the CPU where there is no GPU")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and not arguments.tiny:
        print("no CUDA device here; --tiny runs on the CPU", file=sys.stderr)
        return 1
    torch.set_float32_matmul_precision("high")
    sizes, clock = TINY if arguments.tiny else FULL, Clock(device)
    torch.manual_seed(5)
    plain = build(sizes.parts["transformer"], torch.bfloat16, device).requires_grad_(False)
    scheduler = build(sizes.parts["scheduler"], torch.bfloat16, device)
    transformer = copy.deepcopy(plain)
    add_lora(transformer, 8, 16.0, TARGETS, seed=1)
    random = torch.Generator(device).manual_seed(2)
    for _, layer in adapted(transformer):
        weight = layer.lora_B[ADAPTER].weight
        weight.normal_(generator=random)
        weight.mul_(SHARE * layer.get_base_layer().weight.float().norm() / layer.get_delta_weight(ADAPTER).norm())
    transformer.requires_grad_(False)
    side, times = (8, 2) if arguments.tiny else (sizes.video // 8, (sizes.frames - 1) // 4 + 1)
    noisy = torch.randn(2, transformer.config.in_channels, times, side, side, generator=random, device=device)
    when = torch.full((2,), 500.0, device=device)
    text = torch.randn(2, *sizes.text, generator=random, device=device)

    def answer(network: Any) -> Tensor:
        generator = WanGenerator(None, network, None, None, scheduler, sizes.text[0])
        return generator.prediction(noisy, when, Condition({"text": text}))

    whole = changes(transformer, plain)
    found: dict[str, dict[str, float]] = {}
    for compiled in (False, True) if device.type == "cuda" else (False,):
        base = copy.deepcopy(plain)
        for name, prepare in {"no adapter": lambda t: None, **WAYS}.items():
            network = base if name == "no adapter" else copy.deepcopy(transformer)
            prepare(network)
            if compiled:
                torch.compiler.reset()
                network.compile_repeated_blocks(fullgraph=True, dynamic=False)
            answer(network)
            row = found.setdefault(name, {})
            row["compiled" if compiled else "eager"] = 1e3 * clock.seconds(
                lambda one=network: answer(one), arguments.repeats
            )
            if name != "no adapter" and not compiled:
                row |= left(changes(network, plain), whole)
            print(f"{name}: " + ", ".join(f"{key} {value:.3f}" for key, value in row.items()), flush=True)
            del network
    label = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    report = {"device": label, "torch": torch.__version__, "tiny": arguments.tiny, "milliseconds": found}
    arguments.out.write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

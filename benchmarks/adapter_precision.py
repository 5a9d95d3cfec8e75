"""Whether a denoiser in bfloat16 trains its adapter as float64 would: the shipped adapter, optimizer and average beside a twin.

Wan 2.1 1.3B with random weights in bfloat16, an adapter of rank 8 as alignment adds it, AdamW and average as the preset
`released` has them. Every step takes the gradient of the generative loss on one clip of 5 frames of 256 px, once, and both get
it: the training loop, and the same formulas in float64. What is compared is how far they moved, as one vector. Beside them runs
what the adapter would do in the denoiser's own type (adapter, AdamW and average in bfloat16, as `add_adapter` of diffusers leaves
them).

    python benchmarks/adapter_precision.py --out adapter.json          # CUDA, two minutes
    python benchmarks/adapter_precision.py --tiny --out adapter.json   # the same code on the CPU in seconds, a tiny denoiser
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from generate import FULL, TARGETS, TINY
from torch import Tensor

from vist3a.adapters.lora import add_lora
from vist3a.generators.wan import WanGenerator
from vist3a.records import Condition
from vist3a.runtime.loop import LoopConfig, TrainingLoop, step_generator
from vist3a_app.rehearsal.random_weights import build

BAR = 0.99
SEED = 5


class Twin:
    """AdamW with clipping and the ramped average, by their formulas, in ``dtype`` throughout."""

    def __init__(self, start: list[Tensor], config: LoopConfig, dtype: torch.dtype) -> None:
        self.config, self.dtype = config, dtype
        self.values = [value.to(dtype, copy=True) for value in start]
        self.average = [value.clone() for value in self.values]
        self.first = [torch.zeros_like(value) for value in self.values]
        self.second = [torch.zeros_like(value) for value in self.values]
        self.done = 0

    def step(self, gradients: list[Tensor]) -> None:
        """One step with these gradients (before clipping)."""
        config, slopes = self.config, [gradient.to(self.dtype) for gradient in gradients]
        norm = torch.stack([slope.square().sum() for slope in slopes]).sum().sqrt()
        clip = (config.gradient_clip / (norm + 1e-6)).clamp(max=1)
        self.done += 1
        beta1, beta2 = config.betas
        decay = min(config.ema or 0.0, self.done / (9 + self.done))
        for n, slope in enumerate(slopes):
            clipped = slope * clip
            self.first[n] = beta1 * self.first[n] + (1 - beta1) * clipped
            self.second[n] = beta2 * self.second[n] + (1 - beta2) * clipped.square()
            mean = self.first[n] / (1 - beta1**self.done)
            spread = (self.second[n] / (1 - beta2**self.done)).sqrt() + 1e-8
            self.values[n] = self.values[n] - config.learning_rate * mean / spread
            self.average[n] = self.average[n] + (1 - decay) * (self.values[n] - self.average[n])


def moved(values: list[Tensor], start: list[Tensor]) -> Tensor:
    """Displacement as one vector, float64."""
    return torch.cat([(value.double() - old.double()).flatten() for value, old in zip(values, start, strict=True)])


def compare(own: Tensor, true: Tensor) -> dict[str, float]:
    """Cosine, relative length, and share of entries that did not move although they should have."""
    return {
        "cosine": float(own @ true / (own.norm() * true.norm()).clamp(min=1e-300)),
        "length": float(own.norm() / true.norm().clamp(min=1e-300)),
        "never_moved": float(((own == 0) & (true != 0)).double().sum() / (true != 0).double().sum().clamp(min=1)),
    }


def main() -> int:
    """Train, compare, print, write; 0 when both cosines meet the bar."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True, help="JSON with all numbers")
    parser.add_argument("--tiny", action="store_true", help="a tiny denoiser, on the CPU where there is no GPU")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and not arguments.tiny:
        print("no CUDA device here; --tiny runs on the CPU", file=sys.stderr)
        return 1
    started = time.perf_counter()
    torch.set_float32_matmul_precision("high")
    sizes = TINY if arguments.tiny else FULL
    torch.manual_seed(SEED)
    transformer = build(sizes.parts["transformer"], torch.bfloat16, device)
    scheduler = build(sizes.parts["scheduler"], torch.bfloat16, device)
    generator = WanGenerator(None, transformer, None, None, scheduler, sizes.text[0]).to(device)
    add_lora(transformer, 8, 16.0, TARGETS, seed=1)
    trained = {name: p for name, p in transformer.named_parameters() if p.requires_grad}
    start = [p.detach().clone() for p in trained.values()]
    config = LoopConfig(
        arguments.steps, arguments.learning_rate, schedule="constant", warmup=0, weight_decay=0.0, betas=(0.9, 0.95),
        gradient_clip=1.0, ema=0.99, log_every=50, checkpoint_every=10**9,
    )  # fmt: skip
    twins = {"float64": Twin(start, config, torch.float64), "bfloat16": Twin(start, config, torch.bfloat16)}
    side = 8 if arguments.tiny else 32
    channels = transformer.config.in_channels
    random = torch.Generator(device).manual_seed(2)
    clean = torch.randn(1, channels, 2, side, side, generator=random, device=device)
    text = Condition({"text": torch.randn(1, *sizes.text, generator=random, device=device, dtype=torch.bfloat16)})

    def step_loss(step: int) -> tuple[Tensor, dict[str, Tensor]]:
        draw = step_generator(SEED, step)
        noise = torch.randn(clean.shape, generator=draw).to(device)
        pair = generator.training_pair(clean, noise, torch.rand(1, generator=draw).to(device))
        loss = (generator.prediction(pair.noisy, pair.timesteps, text) - pair.target).square().mean()
        loss.backward()
        gradients = [p.grad.detach().clone() for p in trained.values() if p.grad is not None]
        for twin in twins.values():
            twin.step(gradients)
        return loss.detach(), {}

    loop = TrainingLoop({"transformer": transformer}, config)
    types = sorted({str(p.dtype) for p in (*trained.values(), *loop.average)})
    shipped: list[Tensor] = []

    def log(step: int, seen: Mapping[str, float]) -> None:
        print(f"step {step}: loss {seen['loss']:.4f}", flush=True)
        if step == config.steps:  # before the average takes their place
            shipped.extend(value.detach().clone() for value in loop.masters.values())

    loop.run(step_loss, log)
    truth = twins["float64"]
    found = {
        "adapter": compare(moved(shipped, start), moved(truth.values, start)),
        "average": compare(moved(loop.average, start), moved(truth.average, start)),
        "adapter in bfloat16": compare(moved(twins["bfloat16"].values, start), moved(truth.values, start)),
        "average in bfloat16": compare(moved(twins["bfloat16"].average, start), moved(truth.average, start)),
    }
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    report = {
        "device": name, "torch": torch.__version__, "tiny": arguments.tiny, "steps": arguments.steps, "types": types,
        "parameters": sum(p.numel() for p in trained.values()), "bar": BAR, **found, "seconds": time.perf_counter() - started,
    }  # fmt: skip
    arguments.out.write_text(json.dumps(report, indent=1) + "\n")
    for what, one in found.items():
        shown = ", ".join(f"{key} {value:.4f}" for key, value in one.items())
        print(f"{what}: {shown}", flush=True)
    print(f"{name}: {arguments.steps} steps, {report['parameters']} parameters of {types}, {report['seconds']:.0f} s")
    return 0 if min(found["adapter"]["cosine"], found["average"]["cosine"]) >= BAR else 1


if __name__ == "__main__":
    sys.exit(main())

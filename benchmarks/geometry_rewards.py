"""Alignment by geometry alone beside the full reward: time and memory of a step, in one run.

The networks are those of ``benchmarks/alignment.py``, with random weights: Wan 2.1 1.3B (bfloat16) with an adapter of rank 8,
AnySplat at its published size, two ViT-H scorers. The full reward scores decoded frames and renderings; geometry alone is read
from the latents by the stitched decoder, without its Gaussian head: no frame is decoded, nothing rendered. Prompts, noise,
rollouts and the generative loss are the same, and the steps of the two take turns.

Memory is the peak of the device on CUDA, which holds the networks, too; on a CPU, which does not tell its own, what the graphs
keep at most for their backward passes.

    python benchmarks/geometry_rewards.py --out geometry_rewards.json          # CUDA
    python benchmarks/geometry_rewards.py --tiny --out geometry_rewards.json   # the same code on tiny networks, in seconds
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from alignment import Scene, build
from generate import FULL, TINY, Clock
from torch import Tensor, nn

from vist3a.alignment.align import AlignStep
from vist3a.alignment.rewards.terms import weighted_terms
from vist3a.alignment.rewards.weighted_sum import WeightedSum
from vist3a.runtime.atomic import replacing
from vist3a.runtime.launch import ALONE

GEOMETRY = {"reprojection": 1.0, "pointmap_camera": 1.0, "camera_smoothness": 0.1, "camera_motion": 1.0}
MOTION = 0.27
GIB = 2**30


class Kept:
    """A tensor that a graph keeps; who holds it counts its bytes, once for each memory."""

    def __init__(self, tensor: Tensor, held: Held) -> None:
        self.tensor, self._held = tensor, held
        storage = tensor.untyped_storage()
        self._key = (storage.data_ptr(), storage.nbytes())
        held.add(self._key, 1)

    def __del__(self) -> None:
        self._held.add(self._key, -1)


class Held:
    """Bytes that graphs keep for their backward passes: ``now``, and at ``most``; weights of the networks do not count."""

    def __init__(self, networks: list[nn.Module]) -> None:
        weights = [t for network in networks for t in (*network.parameters(), *network.buffers())]
        self._weights = {t.untyped_storage().data_ptr() for t in weights}
        self._users: dict[tuple[int, int], int] = {}
        self.now = self.most = 0

    def add(self, key: tuple[int, int], users: int) -> None:
        """One more or one less for a memory of this address and size."""
        before = self._users.get(key, 0)
        self._users[key] = before + users
        if key[0] not in self._weights and not (before and before + users):
            self.now += users * key[1]
            self.most = max(self.most, self.now)

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count what is kept within."""
        self.most = self.now
        with torch.autograd.graph.saved_tensors_hooks(lambda tensor: Kept(tensor, self), lambda kept: kept.tensor):
            yield


@dataclass
class Measured:
    """Of one reward: seconds of its steps, of their parts, and GiB, one per step."""

    seconds: list[float] = field(default_factory=list)
    parts: dict[str, list[float]] = field(default_factory=dict)
    memory: list[float] = field(default_factory=list)

    def medians(self) -> dict[str, float]:
        """Of the whole step and its parts in seconds, and the largest memory in GiB."""
        named = {"step": self.seconds, **self.parts}
        return {name: statistics.median(values) for name, values in named.items()} | {"memory": max(self.memory)}


def measure(scene: Scene, rewards: Mapping[str, WeightedSum], repeats: int) -> dict[str, Measured]:
    """One step of each that is not counted, then ``repeats`` of each in turn."""
    cuda = scene.clock.device.type == "cuda"
    steps = {
        name: AlignStep(scene.generator, scene.decoder, reward, scene.data, scene.sampling, ALONE, scene.render)
        for name, reward in rewards.items()
    }
    found = {name: Measured() for name in rewards}
    held = Held([scene.generator, scene.decoder, *scene.scorers])
    for number in range(repeats + 1):
        for name, step in steps.items():
            start = scene.clock.now()
            if cuda:
                _, scalars = step(number)
            else:
                with held.counting():
                    _, scalars = step(number)
            seconds = scene.clock.now() - start
            scene.generator.zero_grad()
            if number == 0:
                continue
            one = found[name]
            one.seconds.append(seconds)
            for key, value in scalars.items():
                if key.startswith("seconds/"):
                    one.parts.setdefault(key.removeprefix("seconds/"), []).append(float(value))
            peaks = [float(value) for key, value in scalars.items() if key.startswith("gibibytes/")]
            one.memory.append(max(peaks) if cuda else held.most / GIB)
    return found


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="tiny networks; the only ones on a machine without CUDA")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tiny = asked.tiny or device.type == "cpu"
    torch.manual_seed(0)
    scene = build(TINY if tiny else FULL, tiny, Clock(device))
    rewards = {"full": scene.rewards, "geometry": weighted_terms(GEOMETRY, {}, None, MOTION)}
    found = measure(scene, rewards, asked.repeats)
    medians = {name: one.medians() for name, one in found.items()}
    ratios = {part: medians["geometry"][part] / value for part, value in medians["full"].items() if value > 0}
    for name, row in medians.items():
        print(f"{name:<9}", "; ".join(f"{part} {value:.3g}" for part, value in row.items()), flush=True)
    print("geometry / full:", "; ".join(f"{part} {value:.2f}" for part, value in ratios.items()), flush=True)
    label = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    report: dict[str, Any] = {"device": label, "torch": torch.__version__, "tiny": tiny, "medians": medians}
    report |= {"ratios": ratios, "steps": {name: asdict(one) for name, one in found.items()}}
    report["memory"] = "peak of the device" if device.type == "cuda" else "kept for backward passes"
    with replacing(asked.out) as temporary:
        temporary.write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Time and peak memory of the reconstruction networks at their published sizes, with random weights, on one GPU.

Per network: ``reconstruct``, ``tokens_at`` every encoder block and ``tokens_at`` every aggregator block, in the
``mixed_precision`` that ``dtype: bfloat16`` of the configuration means. Peaks are a network's weights and what it needed beyond.

With a checkout of the public VGGT (a folder that holds its package ``vggt``; it needs einops and huggingface-hub), the same
is measured of that code in this process, on the same weights and frames, as its authors run it: float32 weights under
bfloat16 autocast. What is compared runs in turn, run by run, as a GPU at its power limit slows down with what it did before.
Exit status 1 when, for one scene, ours is not 1.3 times as fast or 1.5 times as lean, or is worse in
either, or when an output of four clips is further from the public code's float32 run (root mean square, relative) than the
public code's own bfloat16 run is; 5 % are left to luck, 50 % for the few numbers that are camera poses. The float32 runs
use no TF32; all others run at PyTorch's defaults.

    python benchmarks/reconstruction.py [--public FOLDER] [--compile] [--batches 1 4] [--output FILE.json]
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from public_vggt import PublicVGGT, collected, deviation, exact_float32, holds_package, our_results
from torch import Tensor, nn

from vist3a.networks.anysplat import AnySplat
from vist3a.networks.depth_anything3 import DepthAnything3
from vist3a.networks.mvdust3r import MVDust3r
from vist3a.networks.template import EnterableNetwork
from vist3a.networks.vggt import VGGT, VGGT_1B
from vist3a.pairing import published_configs

CLASSES = {"vggt": VGGT, "anysplat": AnySplat, "depth_anything3": DepthAnything3, "mvdust3r": MVDust3r}
NETWORKS = ("vggt-1b", "anysplat", "da3-small", "da3-base", "da3-large", "da3-giant", "mvdust3r", "mvdust3r-plus")
TASKS = ("reconstruct", "tokens encoder", "tokens aggregator")
FASTER, LEANER = 1.3, 1.5
LUCK, LUCK_OF_POSES, CLIPS = 1.05, 1.5, 4
TINY: dict[str, dict[str, Any]] = {
    "vggt": {"embed_dim": 64, "num_heads": 2, "encoder_heads": 2, "camera_heads": 2, "dpt_features": 32},
    "anysplat": {"embed_dim": 64, "num_heads": 2, "encoder_heads": 2, "camera_heads": 2, "gs_features": 32},
    "depth_anything3": {"embed_dim": 96, "num_heads": 6, "camera_heads": 6, "dpt_features": 32},
    "mvdust3r": {"embed_dim": 64, "encoder_heads": 2, "decoder_dim": 48, "decoder_heads": 2, "skip_dim": 8},
}


@dataclass(frozen=True)
class Measurement:
    """Median seconds, and GiB at the peak: in all, and beyond what was there before. NaN where nothing was measured."""

    code: str
    network: str
    task: str
    batch: int
    size: int
    seconds: float
    peak: float
    beyond_weights: float

    def row(self) -> str:
        """One line of the table."""
        what = f"{self.network:14s}{self.code:16s}{self.task:18s}{self.batch:3d} x {self.size:3d} px"
        return f"{what}{1e3 * self.seconds:10.1f} ms{self.peak:9.2f} GiB, {self.beyond_weights:6.2f} beyond the weights"


@dataclass(frozen=True)
class Side:
    """One of the codes that are measured beside each other."""

    code: str
    weights: int
    """Bytes."""
    run: Callable[[], object]


class Bench:
    """Runs and measures on one device, and keeps what it measured."""

    def __init__(self, device: torch.device, views: int, budget: float) -> None:
        """``budget``: seconds per side after which a measurement that has three repetitions ends."""
        self.device, self.views, self.budget = device, views, budget
        self.cuda = device.type == "cuda"
        self.measured: list[Measurement] = []

    def frames(self, batch: int, size: int, seed: int = 0) -> Tensor:
        """The same frames for the same ``seed``, in [0, 1]."""
        generator = torch.Generator().manual_seed(seed)
        return torch.rand(batch, self.views, 3, size, size, generator=generator).to(self.device)

    def free(self) -> None:
        """Give memory back that nothing holds any more."""
        gc.collect()
        if self.cuda:
            torch.cuda.empty_cache()

    def measure(self, network: str, task: str, batch: int, size: int, sides: Sequence[Side]) -> None:
        """Warm every side up twice, the second time for the peak of memory; then up to twenty timed rounds."""
        beyond: dict[str, int] = {}
        for side in sides:
            found = self._beyond_weights(side)
            if found is None:
                print(f"{side.code} {network} {task}, batch {batch}, {size} px: out of memory")
            else:
                beyond[side.code] = found
        seconds: dict[str, list[float]] = {code: [] for code in beyond}
        for repetition in range(20):
            if repetition >= 3 and sum(map(sum, seconds.values())) > self.budget * len(seconds):
                break
            for side in sides:
                if side.code in seconds:
                    seconds[side.code].append(self._timed(side.run))
        for side in sides:
            if side.code in beyond:
                peak = [part / 2**30 for part in (side.weights + beyond[side.code], beyond[side.code])]
                memory = peak if self.cuda else [math.nan, math.nan]
                middle = statistics.median(seconds[side.code])
                self.measured.append(Measurement(side.code, network, task, batch, size, middle, *memory))
                print(self.measured[-1].row(), flush=True)

    def _beyond_weights(self, side: Side) -> int | None:
        """Peak of what a run needs beyond what was there; None without enough memory."""
        try:
            self._timed(side.run)
            if not self.cuda:
                return 0
            before = torch.cuda.memory_allocated(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
            self._timed(side.run)
            return torch.cuda.max_memory_allocated(self.device) - before
        except torch.OutOfMemoryError:
            self.free()
            return None

    def _timed(self, run: Callable[[], object]) -> float:
        start = time.perf_counter()
        run()
        if self.cuda:
            torch.cuda.synchronize(self.device)
        return time.perf_counter() - start

    def find(self, code: str, task: str, batch: int) -> Measurement | None:
        """A measurement of VGGT-1B."""
        chosen = [m for m in self.measured if (m.code, m.network, m.task, m.batch) == (code, "vggt-1b", task, batch)]
        return chosen[0] if chosen else None


def draw(layout: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Float32 weights for a state dict's keys and shapes, the same for the same layout; every part does something."""
    generator = torch.Generator(device).manual_seed(0)
    drawn = {}
    for key, like in sorted(layout.items()):
        noise = torch.randn(like.shape, generator=generator, device=device)
        if not like.is_floating_point():
            value = torch.zeros(like.shape, dtype=like.dtype, device=device)
        elif like.ndim > 1:
            tokens = key.endswith(("token", "tokens", "pos_embed"))
            value = noise * (0.02 if tokens else like[0].numel() ** -0.5)
        elif key.endswith("gamma"):
            value = 0.2 * noise
        else:
            value = (1.0 if key.endswith(("weight", "running_var")) else 0.0) + 0.05 * noise
        drawn[key] = value
    return drawn


def build(name: str, device: torch.device, tiny: bool) -> EnterableNetwork[Any]:
    """Our network of a published size with drawn weights, in mixed precision; ``tiny`` narrows it."""
    family, config = published_configs()[name]
    with torch.device("meta"):
        network: EnterableNetwork[Any] = CLASSES[family](replace(config, **TINY[family] if tiny else {}))
    network.load_state_dict(draw(network.state_dict(), device), assign=True)
    return network.mixed_precision().requires_grad_(False).eval()


def holding(state: Mapping[str, Tensor]) -> VGGT:
    """Our VGGT-1B on these very tensors, named as the public code names them."""
    with torch.device("meta"):
        network = VGGT(VGGT_1B)
    network.load_public_state_dict(state, "the public code's weights", assign=True)
    return network.requires_grad_(False).eval()


def points(network: EnterableNetwork[Any], task: str) -> list[str]:
    """The blocks that a task taps; the encoder's norm is none."""
    return [point.name for point in network.stitch_points if point.kind in task and not point.name.endswith("norm")]


def weight_bytes(network: nn.Module) -> int:
    """Of parameters and buffers."""
    return sum(t.numel() * t.element_size() for t in (*network.parameters(), *network.buffers()))


def our_run(network: EnterableNetwork[Any], task: str, frames: Tensor) -> Callable[[], object]:
    """A task of one network; Gaussians included where there are some."""
    names = points(network, task)
    return lambda: network.tokens_at(names, frames) if names else network.reconstruct(frames)


def measure_ours(bench: Bench, name: str, network: EnterableNetwork[Any], batches: Sequence[int], size: int) -> None:
    """All tasks of one network by itself."""
    weights = weight_bytes(network)
    for batch in batches:
        frames = bench.frames(batch, size)
        for task in TASKS:
            bench.measure(name, task, batch, size, [Side("ours", weights, our_run(network, task, frames))])


def compare(bench: Bench, folder: Path, batches: Sequence[int], size: int, compiled: bool) -> dict[str, Any]:
    """Measure the public VGGT beside ours on the same weights; deviations, ratios and whether the claims hold."""
    clips = [bench.frames(1, size, seed) for seed in range(CLIPS)]
    public = PublicVGGT(folder, bench.device, draw)
    with exact_float32():
        reference = collected(lambda x: public.results(x, half=False), clips)
    results = {"public": collected(lambda x: public.results(x, half=True), clips)}
    networks = {"ours": holding(public.model.state_dict())}
    with exact_float32():
        results["ours, float32"] = collected(partial(our_results, networks["ours"]), clips)
    networks["ours"].mixed_precision()
    results["ours"] = collected(partial(our_results, networks["ours"]), clips)
    if compiled:
        start = time.perf_counter()
        networks["ours, compiled"] = holding(networks["ours"].state_dict())
        networks["ours, compiled"].compile_blocks(dynamic=False)
        results["ours, compiled"] = collected(partial(our_results, networks["ours, compiled"]), clips)
        print(f"compiled in {time.perf_counter() - start:.0f} s")
    bench.free()
    weights = {code: weight_bytes(network) for code, network in networks.items()}
    for batch in batches:
        x = bench.frames(batch, size)
        for task in TASKS:
            names = points(networks["ours"], task)
            theirs = partial(public.tokens, names, x) if names else partial(public.reconstruct, x)
            sides = [Side("public", weight_bytes(public.model), theirs)]
            # Compiled for one scene.
            chosen = [code for code in networks if batch == batches[0] or code != "ours, compiled"]
            sides += [Side(code, weights[code], our_run(networks[code], task, x)) for code in chosen]
            bench.measure("vggt-1b", task, batch, size, sides)
    rows = {
        key: {code: deviation(found[key], value) for code, found in results.items()} for key, value in reference.items()
    }
    print(f"relative deviation from the public code's float32 run, {CLIPS} clips")
    for key, row in rows.items():
        print(f"  {key:22s}" + "".join(f"{code} {value:.2e}   " for code, value in row.items()))
    allowed = {key: (LUCK_OF_POSES if key == "pose_enc" else LUCK) * row["public"] for key, row in rows.items()}
    close = all(value <= allowed[key] for key, row in rows.items() for value in row.values())
    ratios = [ratio for code in results if code.startswith("ours") for ratio in print_ratios(bench, code, batches)]
    good = close and all(ratio["holds"] for ratio in ratios if ratio["batch"] == 1)
    return {"deviations": rows, "deviations_hold": close, "ratios": ratios, "holds": good}


def print_ratios(bench: Bench, code: str, batches: Sequence[int]) -> list[dict[str, Any]]:
    """How many times faster and leaner than the public code, per task; without memory measured, ``holds`` says nothing."""
    found = []
    for batch in batches:
        for task in TASKS:
            ours, theirs = bench.find(code, task, batch), bench.find("public", task, batch)
            if ours is None or theirs is None:
                continue
            faster, leaner = theirs.seconds / ours.seconds, theirs.peak / ours.peak
            holds = not bench.cuda or ((faster >= FASTER or leaner >= LEANER) and faster >= 1 and leaner >= 1)
            print(
                f"{code}, {task}, batch {batch}: {faster:.2f} times as fast, {leaner:.2f} times as lean"
                + " MISSED" * (not holds)
            )
            found.append(
                {"code": code, "task": task, "batch": batch, "faster": faster, "leaner": leaner, "holds": holds}
            )
    return found


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--public", type=Path, help="folder with the public VGGT's package, to be compared with ours")
    parser.add_argument("--networks", nargs="*", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--batches", nargs="+", type=int, default=[1])
    parser.add_argument("--views", type=int, default=13)
    parser.add_argument("--size", type=int, default=448, help="pixels of a side, a multiple of 224")
    parser.add_argument("--compile", action="store_true", help="beside the public code: with compiled blocks, too")
    parser.add_argument("--budget", type=float, default=0.6, help="seconds of repetitions for each measurement")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="narrow networks, to see that everything runs")
    parser.add_argument("--output", type=Path, help="JSON of all figures")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("--device cuda: none here; allowed: a machine with one, or cpu (with --tiny)", file=sys.stderr)
        return 1
    if arguments.public is not None and not holds_package(arguments.public):
        print(
            f"--public: {arguments.public} holds no vggt/models/vggt.py; allowed: a checkout of VGGT", file=sys.stderr
        )
        return 1
    bench, comparison = Bench(device, arguments.views, arguments.budget), None
    name = torch.cuda.get_device_name(device) if bench.cuda else "CPU"
    print(f"{name}, torch {torch.__version__}, {arguments.views} views; scenes x pixels of a side")
    with torch.no_grad():
        if arguments.public is None:
            print("no --public folder: nothing is compared with the public code")
        else:
            comparison = compare(bench, arguments.public, arguments.batches, arguments.size, arguments.compile)
            bench.free()
        for chosen in arguments.networks:
            if chosen == "vggt-1b" and comparison is not None:
                continue
            network = build(chosen, device, arguments.tiny)
            # MV-DUSt3R's published weights know half that size only.
            sizes = [arguments.size // 2, arguments.size] if chosen.startswith("mvdust3r") else [arguments.size]
            for size in sizes:
                measure_ours(bench, chosen, network, arguments.batches, size)
            del network
            bench.free()
    if arguments.output:
        report = {"device": name, "torch": torch.__version__, "views": arguments.views, "comparison": comparison}
        report["measured"] = [asdict(measurement) for measurement in bench.measured]
        unfinished = arguments.output.with_suffix(".partial")
        unfinished.write_text(json.dumps(report, indent=1).replace("NaN", "null"))
        unfinished.replace(arguments.output)
    return 0 if comparison is None or comparison["holds"] else 1


if __name__ == "__main__":
    sys.exit(main())

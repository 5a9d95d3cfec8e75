"""The layer search at full size on one GPU, beside the public procedure and the bare forward passes, all in one run.

Random weights, random clips of 13 views of 512 x 512 px that are already in host memory (resized on the device): the Wan 2.1
video autoencoder in bfloat16 at 512 px, AnySplat at its published size at 448 px under bfloat16 autocast.

* *ours*: extract and score as the pipelines call them, files of the shards and moments included; all encoder blocks, then all
  encoder and aggregator blocks on fewer clips;
* *forward alone*: video encoder and the same blocks on frames that are on the device, nothing done with the results;
* *public procedure*: what the public release does, written anew on our networks: the whole network with heads and voxels, the
  autoencoder in float32 under autocast, sampled latents, half-precision copies of every block's tokens to the host, then per
  layer float64 normal equations on the CPU with a second pass for the bias and a third for the error. Measured on a few clips
  and extrapolated as it scales: features per batch, fit per clip and layer, memory per clip.

Checked first: the fit and the held-out R^2 of one block equal float64 least squares on materialised rows.

Exit status 1 when a check fails or, at full size on CUDA, when a bar is missed.

    python benchmarks/layer_search.py --out layer_search.json [--scenes 404] [--tiny --device cpu]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from vist3a.data.clip_batches import ClipBatch, LoadFrames
from vist3a.generators.wan import WanGenerator
from vist3a.networks.anysplat import ANYSPLAT, AnySplat, AnySplatConfig
from vist3a.records.frame_size import resize_frames
from vist3a.stitching.extract import accumulate, tap_settings
from vist3a.stitching.grids import resample_and_pad
from vist3a.stitching.heldout import measure
from vist3a.stitching.moments import Moments, moments_of
from vist3a.stitching.search import choose, score_points, solve_points
from vist3a.stitching.shards import add_shards, shards_of, write_shard
from vist3a.stitching.store import load_moments, save_moments
from vist3a.stitching.tap import Tap

GIB = 1 << 30
RIDGES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
SHARES = {"fit": 0.7, "selection": 0.1, "heldout": 0.2}
CHECK_LIMIT = 1e-8
BARS = {"speed-up": 20.0, "host GiB": 3.0, "encoder / forward": 1.3, "all blocks / forward": 1.5}


@dataclass(frozen=True)
class Setting:
    """Sizes of the run; ``public_*`` are clips that the public procedure is measured on."""

    scenes: int
    aggregator_scenes: int
    forward_scenes: int
    public_scenes: int
    fit_scenes: int
    batch: int
    shard: int
    views: int
    generator_size: int
    network_size: int


FULL = Setting(404, 104, 32, 8, 4, 4, 128, 13, 512, 448)
TINY = Setting(11, 7, 4, 4, 2, 2, 3, 5, 16, 16)
TINY_NETWORK = AnySplatConfig(
    img_size=16, patch_size=8, embed_dim=16, num_heads=2, encoder_heads=2, encoder_depth=3, aggregator_depth=4,
    mlp_ratio=1.0, num_registers=1, camera_depth=1, camera_heads=2, dpt_features=8, dpt_channels=(8, 8, 8, 8),
    taps=(0, 1, 2, 3), layer_scale_init=0.5, aggregator_layer_scale_init=0.5, gs_features=8, gs_channels=(8, 8, 8, 8),
    sh_degree=1, voxel_size=0.01,
)  # fmt: skip
TINY_VAE = {"base_dim": 4, "z_dim": 4, "dim_mult": [1, 1, 1, 1], "num_res_blocks": 1, "latents_mean": [0.0] * 4,
            "latents_std": [1.0] * 4}  # fmt: skip


class HostMemory:
    """Resident memory of this process, watched by a thread."""

    def __init__(self) -> None:
        self.peak = 0.0
        threading.Thread(target=self._watch, daemon=True).start()

    def now(self) -> float:
        """GiB, files mapped into memory included."""
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / GIB

    def _watch(self) -> None:
        while True:
            self.peak = max(self.peak, self.now())
            time.sleep(0.01)


def synchronise(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize()


@contextmanager
def timed(device: torch.device) -> Iterator[Callable[[], float]]:
    """A clock that reads seconds since the start, and stands when the block is left and the device is done."""
    synchronise(device)
    start, end = time.perf_counter(), [0.0]
    yield lambda: (end[0] or time.perf_counter()) - start
    synchronise(device)
    end[0] = time.perf_counter()


def build(tiny: bool, device: torch.device) -> tuple[WanGenerator, WanGenerator, AnySplat]:
    """Generators with the autoencoder in bfloat16 and the same in float32, and the network; made on the device."""
    from diffusers import AutoencoderKLWan

    with device:
        torch.manual_seed(0)
        exact = AutoencoderKLWan(**(TINY_VAE if tiny else {}))
        half = AutoencoderKLWan.from_config(exact.config).to(torch.bfloat16)
        half.load_state_dict(exact.state_dict())
        network = AnySplat(TINY_NETWORK if tiny else ANYSPLAT)
    generators = [WanGenerator(vae, None, None, None, None, 512) for vae in (half, exact)]
    for module in (*generators, network):
        module.requires_grad_(False).eval()
    return generators[0].to(device), generators[1].to(device), network.to(device)


def with_autocast(network: AnySplat, device: torch.device) -> None:
    """From now on tokens are tapped in bfloat16 where autocast thinks that is safe."""
    plain = network.tokens_at

    def tokens_at(points: Sequence[str], frames: Tensor) -> Any:
        with torch.autocast(device.type, torch.bfloat16):
            return plain(points, frames)

    network.tokens_at = tokens_at  # type: ignore[method-assign]


def make_clips(setting: Setting, device: torch.device) -> Tensor:
    """Random clips in host memory, uint8."""
    size = (setting.views, 3, setting.generator_size, setting.generator_size)
    clips = torch.empty(setting.scenes, *size, dtype=torch.uint8)
    for i in range(setting.scenes):
        # Blurred noise: neighbouring pixels agree, so latents are not noise alone.
        noise = torch.rand(setting.views, 3, size[2] // 8, size[3] // 8, device=device)
        clips[i] = functional.interpolate(noise, size[2:], mode="bilinear").mul_(255).byte().cpu()
    return clips


def block_tap(
    generator: WanGenerator, network: AnySplat, setting: Setting, *kinds: str, points: int | None = None
) -> Tap:
    """Taps the (first) blocks of the given kinds; blocks only, not the encoder's last norm."""
    chosen = [p for p in network.stitch_points if p.kind in kinds and p.special_tokens][:points]
    # Each resizes the frames of the clips to its own size.
    network.input_size = (setting.network_size, setting.network_size)
    return Tap(generator, network, tap_settings(generator, network, chosen, (setting.generator_size,) * 2))


def names_of(setting: Setting, scenes: int) -> dict[str, list[str]]:
    """Names (numbers) of the clips by split."""
    counts = [max(1, round(SHARES[split] * scenes)) for split in ("selection", "heldout")]
    bounds = [0, scenes - sum(counts), scenes - counts[1], scenes]
    return {
        split: [str(i) for i in range(bounds[k], bounds[k + 1])]
        for k, split in enumerate(("fit", "selection", "heldout"))
    }


def by_shards(tap: Tap, names: list[str], load: LoadFrames, setting: Setting, state: Path) -> Moments:
    """Moments as the extract pipeline makes them: a file for every shard, then their sum."""
    shards = shards_of(names, setting.shard, state)
    for shard in shards:
        write_shard(tap, shard, load, batch=setting.batch)
    return add_shards(shards, tap.device)


def search(tap: Tap, clips: Tensor, setting: Setting, scenes: int) -> dict[str, float]:
    """Extract and score; seconds of both."""
    splits = names_of(setting, scenes)

    def load(name: str) -> Tensor:
        return clips[int(name)]

    with tempfile.TemporaryDirectory() as folder, timed(tap.device) as clock:
        root = Path(folder)
        moments = {
            split: by_shards(tap, splits[split], load, setting, root / "state" / split)
            for split in ("fit", "selection")
        }
        save_moments(root, moments, tap.settings)
        del moments
        synchronise(tap.device)
        extracted = clock()
        stored, settings = load_moments(root, tap.device)
        solved = solve_points(stored["fit"], stored["selection"], settings, RIDGES, "position", tap.latent_statistics)
        synchronise(tap.device)
        solving = clock() - extracted
        candidates = {name: found.candidate for name, found in solved.items()}
        heldout = measure(tap, candidates, splits["heldout"], load, batch=setting.batch)
        scores = score_points(solved, heldout, settings, seed=0)
        best, _ = choose(scores)
    total = clock()
    return {"seconds": total, "extract": extracted, "solve": solving, "score": total - extracted, "r2": best.r2_heldout}


def forward_alone(tap: Tap, clips: Tensor, setting: Setting) -> float:
    """Seconds per clip of the video encoder and the blocks, on frames that are on the device already."""
    settings, device = tap.settings, tap.device
    frames = ClipBatch(("0",) * setting.batch, clips[: setting.batch]).on(device)
    resized = tap.network.fit(frames)
    rounds = max(1, setting.forward_scenes // setting.batch)
    with torch.no_grad(), timed(device) as clock:
        for _ in range(rounds):
            tap.generator.encode(frames)
            tap.network.tokens_at(settings.names, resized)
    return clock() / (rounds * setting.batch)


def public_features(
    generator: WanGenerator, network: AnySplat, clips: Tensor, setting: Setting, device: torch.device
) -> tuple[float, dict[str, Tensor], Tensor]:
    """Seconds per batch; tokens of every block and latents, in half precision on the host."""
    names = [p.name for p in network.stitch_points if p.kind == "encoder" and p.special_tokens]
    tokens: dict[str, list[Tensor]] = {name: [] for name in names}
    latents, seconds = [], []
    side = (setting.network_size, setting.network_size)
    for start in range(-setting.batch, setting.public_scenes, setting.batch):
        with torch.no_grad(), timed(device) as clock:
            first = max(start, 0)
            frames = clips[first : first + setting.batch].to(device).float() / 255
            seen = resize_frames(frames, side)
            with torch.autocast(device.type, torch.bfloat16):
                taps, states = network.trunk(seen, names)
                network.heads(taps, side, seen)
                latent = generator.encode(frames, torch.Generator(device).manual_seed(start + setting.batch))
            copied = {name: state.patch_tokens.half().cpu() for name, state in states.items()}
            latent = latent.half().cpu()
        if start >= 0:  # the first batch warms up
            seconds.append(clock())
            latents.append(latent)
            for name in names:
                tokens[name].append(copied[name])
    return sum(seconds) / len(seconds), {name: torch.cat(parts) for name, parts in tokens.items()}, torch.cat(latents)


def public_fit(tap: Tap, latents: Tensor, tokens: Tensor, scenes: int) -> float:
    """Seconds per clip and layer on the CPU: normal equations without an intercept, the mean residual as bias, the error."""
    spec = tap.settings.spec
    features = latents.shape[1] * spec.kernel[0] * spec.kernel[1] * spec.kernel[2]
    width = tokens.shape[-1]

    def rows(i: int) -> Tensor:
        x = resample_and_pad(latents[i : i + 1].float(), spec)
        for axis in range(3):
            x = x.unfold(2 + axis, spec.kernel[axis], spec.stride[axis])
        return x.permute(0, 2, 3, 4, 1, 5, 6, 7).reshape(-1, features).double()

    start = time.perf_counter()
    xtx, xty = torch.zeros(features, features, dtype=torch.float64), torch.zeros(features, width, dtype=torch.float64)
    for i in range(scenes):
        x, y = rows(i), tokens[i].reshape(-1, width).double()
        xtx += x.T @ x
        xty += x.T @ y
    weight = torch.linalg.solve(xtx + 1e-4 * torch.eye(features, dtype=torch.float64), xty)
    residual, count = torch.zeros(width, dtype=torch.float64), 0
    for i in range(scenes):
        x, y = rows(i), tokens[i].reshape(-1, width).double()
        residual += (y - x @ weight).sum(0)
        count += len(x)
    kernel = weight.T.reshape(width, -1, *spec.kernel).float()
    bias, error = (residual / count).float(), 0.0
    for i in range(scenes):
        seen = resample_and_pad(latents[i : i + 1].float(), spec)
        output = functional.conv3d(seen, kernel, bias, spec.stride).movedim(1, -1)
        error += float((output[0] - tokens[i].float()).square().mean())
    return (time.perf_counter() - start) / scenes


def product_rate(tap: Tap, clips: Tensor, setting: Setting, chunk_gib: float) -> dict[str, float]:
    """Milliseconds per clip of the moments alone, and float64 operations per second of their products."""
    x, states = tap(ClipBatch(("0",) * setting.batch, clips[: setting.batch]))
    moments_of(x, states, int(chunk_gib * GIB))
    rounds = 3
    with timed(tap.device) as clock:
        for _ in range(rounds):
            moments_of(x, states, int(chunk_gib * GIB))
    widths = x.shape[-1] + sum(state.patch_tokens.shape[-1] for state in states.values())
    operations = 2 * x.shape[:4].numel() * x.shape[-1] * widths
    return {"ms_per_clip": 1000 * clock() / (rounds * setting.batch), "tflops": rounds * operations / clock() / 1e12}


def check(tap: Tap, clips: Tensor, setting: Setting) -> dict[str, float]:
    """Relative difference of weights, intercept and held-out R^2 from least squares on rows, of the first block."""
    name, ridge = tap.settings.names[0], 1e-3
    fit, unseen = [str(i) for i in range(setting.batch)], [str(setting.batch)]
    moments = accumulate(tap, fit, lambda n: clips[int(n)], batch=setting.batch, shard=1)
    solved = solve_points(moments, moments, tap.settings, (ridge,), "channel")[name]
    heldout = measure(tap, {name: solved.candidate}, unseen, lambda n: clips[int(n)], batch=1)
    # The same batches as above: in half precision another batch size rounds differently.
    data = [tap(ClipBatch((n,), clips[int(n)][None])) for n in [*fit, *unseen]]
    rows = [x.flatten(0, 3).double() for x, _ in data]
    tokens = [states[name].patch_tokens.flatten(0, 3).double() for _, states in data]
    x, y = torch.cat(rows[:-1]), torch.cat(tokens[:-1])
    dx, dy = x - x.mean(0), y - y.mean(0)
    penalty = (ridge * dx.square().sum(0).mean()).sqrt() * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    weight = torch.linalg.lstsq(
        torch.cat([dx, penalty]), torch.cat([dy, dy.new_zeros(x.shape[1], y.shape[1])])
    ).solution
    intercept = y.mean(0) - x.mean(0) @ weight
    error = (tokens[-1] - rows[-1] @ weight - intercept).square().sum()
    r2 = float(1 - error / (tokens[-1] - y.mean(0)).square().sum())
    found = heldout.points[name].scenes
    return {
        "weights": float((solved.candidate.solution.weight - weight).norm() / weight.norm()),
        "intercept": float((solved.candidate.solution.bias[0] - intercept).norm() / intercept.norm()),
        "held-out R2": abs(float(1 - found[0].sum() / found[1].sum()) - r2) / max(abs(r2), 1e-3),
    }


def run_ours(tap: Tap, clips: Tensor, setting: Setting, scenes: int, memory: HostMemory) -> dict[str, float]:
    """The search and the forward passes alone before and after it; times, ratio, memory."""
    before = forward_alone(tap, clips, setting)
    if tap.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    frames, start = clips.numel() / GIB, memory.now()
    memory.peak = start
    found = search(tap, clips, setting, scenes)
    peak = memory.peak
    device_peak = torch.cuda.max_memory_allocated() / GIB if tap.device.type == "cuda" else 0.0
    forward = (before + forward_alone(tap, clips, setting)) / 2 * scenes
    return {
        **found,
        "points": float(len(tap.settings.points)),
        "scenes": float(scenes),
        "forward": forward,
        "ratio": found["seconds"] / forward,
        "host_peak_beyond_frames": peak - frames,
        "host_growth": peak - start,
        "device_peak": device_peak,
    }


def measure_all(setting: Setting, tiny: bool, device: torch.device) -> dict[str, Any]:
    """Everything, in one process."""
    memory = HostMemory()
    generator, exact_generator, network = build(tiny, device)
    clips = make_clips(setting, device)
    plain = network.tokens_at
    with_autocast(network, device)
    encoder = block_tap(generator, network, setting, "encoder")
    checked = check(block_tap(generator, network, setting, "encoder", points=1), clips, setting)
    search(encoder, clips, setting, min(setting.scenes, 3 * setting.batch))  # warm-up
    ours = run_ours(encoder, clips, setting, setting.scenes, memory)
    products = {str(chunk): product_rate(encoder, clips, setting, chunk) for chunk in (0.25, 0.5, 1, 2, 4)}
    everything = block_tap(generator, network, setting, "encoder", "aggregator")
    forward_alone(everything, clips, replace(setting, forward_scenes=setting.batch))  # warm-up
    both = run_ours(everything, clips, setting, setting.aggregator_scenes, memory)
    # Last, since the heap it leaves would count as ours.
    network.tokens_at = plain  # type: ignore[method-assign]
    public_batch, tokens, latents = public_features(exact_generator, network, clips, setting, device)
    name = encoder.settings.names[len(encoder.settings.names) // 2]
    public_fit(encoder, latents, tokens[name], 1)  # warm-up
    fit = public_fit(encoder, latents, tokens[name], setting.fit_scenes)
    per_scene = sum(t[0].numel() * t.element_size() for t in tokens.values())
    batches, layers = -(-setting.scenes // setting.batch), len(encoder.settings.points)
    public = {
        "seconds_per_batch": public_batch,
        "seconds_per_scene_and_layer": fit,
        "features": public_batch * batches,
        "fit": fit * setting.scenes * layers,
        "host_gib": per_scene * setting.scenes / GIB,
        "cpu_threads": float(torch.get_num_threads()),
    }
    public["seconds"] = public["features"] + public["fit"]
    bars = {
        "speed-up": public["seconds"] / ours["seconds"],
        "host GiB": ours["host_peak_beyond_frames"],
        "encoder / forward": ours["ratio"],
        "all blocks / forward": both["ratio"],
    }
    return {
        "check": checked,
        "encoder": ours,
        "all_blocks": both,
        "public": public,
        "products": products,
        "bars": bars,
    }


def report(result: dict[str, Any]) -> None:
    """Print the tables."""
    print("check against least squares on rows: " + ", ".join(f"{k} {v:.1e}" for k, v in result["check"].items()))
    public = result["public"]
    print(
        f"public procedure: {public['seconds_per_batch']:.2f} s per batch, {public['seconds_per_scene_and_layer']:.3f} s per "
        f"clip and layer on {public['cpu_threads']:.0f} threads\n"
    )
    print(
        f"{'':24}{'clips':>7}{'points':>8}{'seconds':>10}{'forward':>10}{'ratio':>7}{'host GiB':>10}{'device GiB':>12}"
    )
    for name in ("encoder", "all_blocks"):
        r = result[name]
        print(
            f"{'ours, ' + name:24}{r['scenes']:7.0f}{r['points']:8.0f}{r['seconds']:10.2f}{r['forward']:10.2f}{r['ratio']:7.3f}"
            f"{r['host_peak_beyond_frames']:10.2f}{r['device_peak']:12.2f}   (extract {r['extract']:.2f} s, solve "
            f"{r['solve']:.2f} s, score {r['score']:.2f} s; host grew by {r['host_growth']:.2f} GiB)"
        )
    rates = ", ".join(
        f"{chunk} GiB {r['ms_per_clip']:.1f} ms ({r['tflops']:.1f})" for chunk, r in result["products"].items()
    )
    print(f"moments of the encoder blocks alone, per clip (TFLOP/s in float64) by size of the chunks: {rates}")
    ours = result["encoder"]
    print(
        f"{'public, extrapolated':24}{ours['scenes']:7.0f}{ours['points']:8.0f}{public['seconds']:10.2f}{'':17}"
        f"{public['host_gib']:10.2f}   (features {public['features']:.1f} s, fit {public['fit']:.1f} s)\n"
    )
    for name, value in result["bars"].items():
        wanted = f"at least {BARS[name]:g}" if name == "speed-up" else f"at most {BARS[name]:g}"
        print(f"{name:24}{value:10.3f}   {wanted}")


def main() -> int:
    """Measure, print, write, judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True, help="JSON file for the results")
    parser.add_argument("--tiny", action="store_true", help="small networks and clips: does it run at all?")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--scenes", type=int)
    parser.add_argument("--batch", type=int)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    base = TINY if arguments.tiny else FULL
    chosen = {key: value for key in ("scenes", "batch") if (value := getattr(arguments, key)) is not None}
    setting = Setting(**{**base.__dict__, **chosen})
    start = time.perf_counter()
    result = measure_all(setting, arguments.tiny, device)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    result |= {"device": name, "torch": torch.__version__, "setting": setting.__dict__}
    result["wall_seconds"] = time.perf_counter() - start
    report(result)
    print(f"{name}, torch {torch.__version__}, {result['wall_seconds']:.0f} s in all")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")
    failed = [name for name, value in result["check"].items() if not value < CHECK_LIMIT]
    if device.type == "cuda" and not arguments.tiny:
        failed += [k for k, v in result["bars"].items() if (v < BARS[k] if k == "speed-up" else v > BARS[k])]
    if failed:
        print("failed: " + ", ".join(failed), file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

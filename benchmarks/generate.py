"""Text to 3D Gaussians at full size: this project beside a plain loop of the public procedure, in one run, with random weights.

Wan 2.1 1.3B (bfloat16), an adapter of rank 8, AnySplat at its published size, 13 frames of 512 px (448 px for the 3D network), 50
steps of UniPC with flow shift 5, guidance 7.5. The embedded text is given. The plain loop is diffusers' WanPipeline (two forward
passes per step, eager, unmerged adapter, float16 weights under bfloat16 autocast, as in the public code) followed by the
autoencoder and the stitched decoder. Latents of both are
compared with each other and with a float32 (TF32) run of the same weights.

    python benchmarks/generate.py --out generate.json          # CUDA, under three minutes
    python benchmarks/generate.py --tiny --out generate.json   # the same code on the CPU in seconds, tiny networks
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from vist3a.adapters.lora import add_lora, merge_lora
from vist3a.generators.published import Part
from vist3a.generators.wan import PUBLISHED, WanGenerator
from vist3a.networks.anysplat import ANYSPLAT, AnySplat, AnySplatConfig
from vist3a.records import Condition, StitchFit
from vist3a.sampling.rollout import prompt_noise
from vist3a.sampling.sampling import SamplingConfig, decode_scene, sample_latents
from vist3a.stitching.decoder import StitchedDecoder
from vist3a.stitching.extract import tap_settings
from vist3a_app.rehearsal.random_weights import build

PROMPT, SEED, TARGETS = "given", 0, ["to_q", "to_k", "to_v", "to_out.0"]
BAR = 2.2


@dataclass(frozen=True)
class Sizes:
    """What differs between the full size and a rehearsal on the CPU."""

    parts: dict[str, Part]
    network: AnySplatConfig
    video: int
    scene: int
    frames: int
    steps: int
    text: tuple[int, int]
    dtype: torch.dtype


FULL = Sizes(dict(PUBLISHED["wan-1.3b"]), ANYSPLAT, 512, 448, 13, 50, (512, 4096), torch.bfloat16)
TINY = Sizes(
    {
        "vae": Part("diffusers", "AutoencoderKLWan", {"base_dim": 8, "z_dim": 16, "num_res_blocks": 1}),
        "transformer": Part(
            "diffusers",
            "WanTransformer3DModel",
            {"num_attention_heads": 2, "attention_head_dim": 12, "ffn_dim": 32, "num_layers": 2, "text_dim": 32},
        ),
        "scheduler": PUBLISHED["wan-1.3b"]["scheduler"],
    },
    AnySplatConfig(
        img_size=56, embed_dim=32, num_heads=2, encoder_heads=2, encoder_depth=4, aggregator_depth=4, taps=(0, 1, 2, 3),
        camera_depth=1, camera_heads=2, dpt_features=8, dpt_channels=(8, 8, 8, 8), gs_features=8, gs_channels=(8, 8, 8, 8),
        sh_degree=1,
    ),
    64, 56, 5, 4, (16, 32), torch.float32,
)  # fmt: skip


@dataclass
class Result:
    """One way to do it: seconds of its parts, and its peak of device memory in GiB."""

    denoising: list[float] = field(default_factory=list)
    frames: list[float] = field(default_factory=list)
    scene: list[float] = field(default_factory=list)
    peak: float = 0.0

    @property
    def total(self) -> float:
        """Median seconds from the embedded text to Gaussians."""
        return statistics.median(sum(parts) for parts in zip(self.denoising, self.frames, self.scene, strict=True))


class Clock:
    """Seconds with the device waited for."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def now(self) -> float:
        """Seconds now."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def seconds(self, work: Callable[[], Any], repeats: int) -> float:
        """Median over ``repeats`` calls after one more."""
        work()
        found = []
        for _ in range(repeats):
            start = self.now()
            work()
            found.append(self.now() - start)
        return statistics.median(found)


@torch.no_grad()
def make(sizes: Sizes, device: torch.device) -> tuple[WanGenerator, StitchedDecoder, Condition, Condition]:
    """The networks with random weights, and the embeddings of a prompt and a negative prompt."""
    vae, transformer = (build(sizes.parts[name], sizes.dtype, device) for name in ("vae", "transformer"))
    scheduler = build(sizes.parts["scheduler"], sizes.dtype, device)
    generator = WanGenerator(vae, transformer, None, None, scheduler, sizes.text[0]).to(device)
    add_lora(transformer, 8, 16.0, TARGETS, seed=1)
    random = torch.Generator(device).manual_seed(2)
    for name, parameter in transformer.named_parameters():
        parameter.requires_grad_(False)
        if "lora_B" in name:  # zero at the start, which would make the adapter cheap to leave out
            parameter.normal_(std=0.01, generator=random)
    with torch.device(device):
        network = AnySplat(sizes.network).requires_grad_(False).eval()
    network.mixed_precision(sizes.dtype)
    network.input_size = (sizes.scene, sizes.scene)
    spec = tap_settings(generator, network, network.stitch_points[:1], (sizes.video, sizes.video)).spec
    point = network.stitch_points[1]
    weight = torch.randn(point.width, generator.channels, *spec.kernel, generator=random, device=device) / 27
    special = torch.randn(2, point.special_tokens, point.width, generator=random, device=device)
    fit = StitchFit(point.name, weight, torch.zeros(point.width, device=device), None, special, 0.0)
    decoder = StitchedDecoder(network, spec, fit).requires_grad_(False).eval().to(device)
    network.drop_before(point.name)
    text = torch.randn(2, *sizes.text, generator=random, device=device, dtype=sizes.dtype)
    text[0, sizes.text[0] // 6 :] = 0  # Wan's embeddings are zero behind the prompt
    text[1, sizes.text[0] // 9 :] = 0
    return generator, decoder, Condition({"text": text[:1]}), Condition({"text": text[1:]})


def public_latents(
    generator: WanGenerator, noise: Tensor, text: Condition, negative: Condition, sizes: Sizes, steps: int, cast: bool
) -> Tensor:
    """Normalised latents of diffusers' own pipeline; ``cast`` under autocast, as the public code runs it."""
    from diffusers import UniPCMultistepScheduler, WanPipeline

    scheduler = UniPCMultistepScheduler.from_config(generator.scheduler.config, flow_shift=5.0)
    pipeline = WanPipeline(None, None, generator.vae, scheduler, generator.transformer)
    pipeline.set_progress_bar_config(disable=True)
    with torch.autocast(noise.device.type, torch.bfloat16, enabled=cast):
        return pipeline(
            height=sizes.video, width=sizes.video, num_frames=sizes.frames, num_inference_steps=steps, guidance_scale=7.5,
            latents=noise, prompt_embeds=text["text"], negative_prompt_embeds=negative["text"], output_type="latent",
        ).frames  # fmt: skip


@torch.no_grad()
def public_procedure(
    generator: WanGenerator, decoder: StitchedDecoder, text: Condition, negative: Condition, sizes: Sizes, clock: Clock
) -> tuple[Result, Tensor]:
    """The plain loop, once, after a short warm-up."""
    noise, cast, result = noise_of(generator, sizes, clock.device), sizes.dtype != torch.float32, Result()
    for steps in (2, sizes.steps):
        reset_peak(clock.device)
        start = clock.now()
        latents = public_latents(generator, noise, text, negative, sizes, steps, cast)
        times = [clock.now()]
        with torch.autocast(clock.device.type, torch.bfloat16, enabled=cast):
            raw = (latents * generator.latents_std + generator.latents_mean).to(generator.vae.dtype)
            video = generator.vae.decode(raw, return_dict=False)[0]
            times.append(clock.now())
            size = (sizes.scene, sizes.scene)
            small = functional.interpolate(video, (video.shape[2], *size), mode="trilinear", align_corners=False)
            scene = decoder(raw.float(), size, rgb=(small.float().transpose(1, 2) + 1) / 2)
        times.append(clock.now())
        assert scene.gaussians is not None
    result.denoising, result.frames, result.scene = [times[0] - start], [times[1] - times[0]], [times[2] - times[1]]
    result.peak = peak(clock.device)
    return result, latents


@torch.no_grad()
def ours(
    generator: WanGenerator,
    decoder: StitchedDecoder,
    text: Condition,
    negative: Condition,
    sizes: Sizes,
    clock: Clock,
    repeats: int,
) -> tuple[Result, Tensor, float]:
    """This project's own functions, ``repeats`` times after the compilation, whose seconds come last."""
    config = SamplingConfig(
        steps=sizes.steps, guidance=7.5, frames=sizes.frames, height=sizes.video, width=sizes.video, flow_shift=5.0
    )
    result, waited = Result(), 0.0
    for repeat in range(repeats + 1):
        if repeat == 1:
            reset_peak(clock.device)
        start = clock.now()
        (raw,) = sample_latents(generator, lambda _: text, [PROMPT], config, SEED, clock.device, negative)
        middle = clock.now()
        frames = decoder.network.fit(generator.decode(raw))
        decoded = clock.now()
        made = decoder(raw, (sizes.scene, sizes.scene), rgb=frames)
        end = clock.now()
        if made.gaussians is None or not bool(torch.isfinite(made.gaussians.means).all()):
            raise RuntimeError("the scene has no finite Gaussians")
        if repeat == 0:
            waited = end - start
            continue
        result.denoising.append(middle - start)
        result.frames.append(decoded - middle)
        result.scene.append(end - decoded)
    result.peak = peak(clock.device)
    # The same by the function that `kedro run --pipelines=generate` calls.
    same = decode_scene(generator, decoder, PROMPT, raw).scene.depth
    if not torch.allclose(same, made.depth, rtol=1e-3, atol=1e-3 * float(made.depth.abs().max())):
        raise RuntimeError("decode_scene gives another scene than its parts")
    return result, generator.normalise(raw), waited


def store_as(generator: WanGenerator, dtype: torch.dtype) -> None:
    """Cast the weights of half precision; what is kept in float32 stays."""
    for module in (generator.transformer, generator.vae):
        for parameter in module.parameters():
            if parameter.dtype in (torch.float16, torch.bfloat16):
                parameter.data = parameter.data.to(dtype)


def noise_of(generator: WanGenerator, sizes: Sizes, device: torch.device) -> Tensor:
    """The prompt's noise, the same for all."""
    return prompt_noise(PROMPT, SEED, generator.latent_grid(sizes.frames, sizes.video, sizes.video), device)


def reset_peak(device: torch.device) -> None:
    """Start a new peak."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak(device: torch.device) -> float:
    """GiB since then."""
    return torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else 0.0


def distance(a: Tensor, b: Tensor) -> float:
    """Root mean square difference in units of the spread of ``b``."""
    return float((a.float() - b.float()).square().mean().sqrt() / b.float().std())


@torch.no_grad()
def autoencoder_variants(generator: WanGenerator, raw: Tensor, clock: Clock) -> dict[str, float]:
    """Seconds to decode as the autoencoder is now, four frames at a time and whole."""
    found, before = {}, generator.whole_clip
    for name, whole in (("four frames at a time", False), ("whole clip", True)):
        generator.whole_clip = whole
        reset_peak(clock.device)
        found[name] = clock.seconds(lambda: generator.decode(raw), 3)
        found[f"{name}, peak GiB"] = peak(clock.device)
    generator.whole_clip = before
    return found


def main() -> int:
    """Build, run both, compare, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True, help="JSON with all numbers")
    parser.add_argument("--tiny", action="store_true", help="tiny networks, on the CPU where there is no GPU")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--mode", help="of torch.compile, e.g. max-autotune-no-cudagraphs")
    parser.add_argument("--eager", action="store_true", help="compile nothing")
    parser.add_argument("--whole-clip", action="store_true", help="decode the clip in one pass")
    parser.add_argument("--cudnn-benchmark", action="store_true", help="let cuDNN time its convolutions (ours only)")
    parser.add_argument(
        "--public-dtype", default="float16", help="of the public procedure's weights, under bfloat16 autocast"
    )
    parser.add_argument("--no-reference", action="store_true", help="without the float32 run")
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and not arguments.tiny:
        print("no CUDA device here; --tiny rehearses on the CPU", file=sys.stderr)
        return 1
    sizes, clock = TINY if arguments.tiny else FULL, Clock(device)
    torch.set_float32_matmul_precision("high")
    start = clock.now()
    generator, decoder, text, negative = make(sizes, device)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    print(f"{name}, torch {torch.__version__}; networks built in {clock.now() - start:.1f} s", flush=True)
    store_as(generator, getattr(torch, arguments.public_dtype))
    public, public_z = public_procedure(generator, decoder, text, negative, sizes, clock)
    print(f"public procedure {public.total:.2f} s, peak {public.peak:.2f} GiB", flush=True)
    reference = None
    if not arguments.no_reference:
        exact = WanGenerator(None, copy.deepcopy(generator.transformer).float(), None, None, generator.scheduler, 0)
        exact.vae = generator.vae
        conditions = [Condition({"text": c["text"].float()}) for c in (text, negative)]
        with torch.no_grad():
            noise = noise_of(generator, sizes, device)
            reference = public_latents(exact, noise, *conditions, sizes, sizes.steps, cast=False)
        del exact
        print(f"float32 reference done at {clock.now() - start:.0f} s", flush=True)
    store_as(generator, sizes.dtype)
    plain_decode = autoencoder_variants(generator, generator.denormalise(public_z), clock)
    merge_lora(generator.transformer)
    torch.backends.cudnn.benchmark = arguments.cudnn_benchmark
    if not arguments.eager and (device.type == "cuda" or arguments.mode):
        generator.accelerate(arguments.mode)
        decoder.network.accelerate()
    generator.whole_clip = arguments.whole_clip
    own, own_z, waited = ours(generator, decoder, text, negative, sizes, clock, arguments.repeats)
    fast_decode = autoencoder_variants(generator, generator.denormalise(own_z), clock)
    errors = {"ours to public": distance(own_z, public_z)}
    equal = errors["ours to public"] < (0.2 if reference is None else float("inf"))
    if reference is not None:
        errors |= {"public to float32": distance(public_z, reference), "ours to float32": distance(own_z, reference)}
        # As near to the exact result as the public procedure is: what differs is rounding.
        equal = errors["ours to float32"] <= 1.25 * errors["public to float32"] + 1e-5
    report = {
        "device": name,
        "torch": torch.__version__,
        "tiny": arguments.tiny,
        "steps": sizes.steps,
        "public": asdict(public) | {"total": public.total},
        "ours": asdict(own) | {"total": own.total, "first_call": waited},
        "ratio": public.total / own.total,
        "latent_errors": errors,
        "latents_equal": equal,
        "autoencoder": {"plain": plain_decode, "accelerated": fast_decode},
        "options": {k: v for k, v in vars(arguments).items() if k != "out"},
        "seconds_in_all": clock.now() - start,
    }
    arguments.out.write_text(json.dumps(report, indent=1) + "\n")
    print(f"{'':24} {'public':>10} {'ours':>10}")
    for part in ("denoising", "frames", "scene"):
        print(
            f"{part + ', s':24} {statistics.median(getattr(public, part)):10.3f} {statistics.median(getattr(own, part)):10.3f}"
        )
    print(f"{'total, s':24} {public.total:10.3f} {own.total:10.3f}   {report['ratio']:.2f} times faster (bar {BAR})")
    print(f"{'peak, GiB':24} {public.peak:10.2f} {own.peak:10.2f}")
    print(f"first call {waited:.1f} s; latents: {errors}; equal up to rounding: {equal}")
    print(f"autoencoder: plain {plain_decode}, accelerated {fast_decode}")
    good = equal and own.peak <= public.peak * 1.001 and (arguments.tiny or report["ratio"] >= BAR)
    print("passed" if good else "not passed")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

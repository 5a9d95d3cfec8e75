"""Seconds from a prompt to 3D Gaussians on the CPU, with the embedded networks as shipped.

One warm-up, then the median over five prompts: text embedding, denoising with guidance, video decoding (the Gaussian
head reads the frames) and the stitched decoder. Loading the networks is stated apart; rendering and files do not count.
Networks, guidance and size come from ``conf/base``.

    python benchmarks/text_to_3d.py [--steps 25] [--aligned] [--closed-form] [--profile]
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from kedro.config import OmegaConfigLoader

from vist3a.adapters.lora import load_lora
from vist3a.generators.base import VideoGenerator
from vist3a.sampling.sampling import SamplingConfig, decode_scene, sample_latents
from vist3a.stitching.decoder import StitchedDecoder
from vist3a.stitching.store import load_fit
from vist3a_app.pipelines.generate.params import GenerateParams
from vist3a_app.pipelines.networks import Networks
from vist3a_app.pipelines.stitched import load_decoder
from vist3a_app.settings import CONFIG_LOADER_ARGS

REPOSITORY = Path(__file__).resolve().parents[1]
CPU = torch.device("cpu")
FOLDERS = ("stitch_layer", "stitched_decoder", "aligned_generator")
WARM_UP = "a red sphere on a wooden floor"
PROMPTS = (
    "a small blue cube on a stone floor",
    "a shiny green ball to the left of a yellow cone on a sandy ground",
    "a large striped purple cylinder under a night sky",
    "a white box behind an orange sphere in a warm room",
    "a black cone and a red ball on a grassy ground at sunset",
)


def load(aligned: bool, closed_form: bool) -> tuple[VideoGenerator, StitchedDecoder, GenerateParams]:
    """What ``generate`` loads; ``closed_form`` takes the stitch layer before distillation."""
    arguments = {key: value for key, value in CONFIG_LOADER_ARGS.items() if key != "default_run_env"}
    loader = OmegaConfigLoader(str(REPOSITORY / "conf"), env="base", default_run_env="base", **arguments)
    parameters: dict[str, Any] = loader["parameters"]
    folders = {name: Path(loader["catalog"][name]["filepath"]) for name in FOLDERS}
    needed = ["stitch_layer" if closed_form else "stitched_decoder", *["aligned_generator"] * aligned]
    for name in needed:
        if not any(folders[name].glob("*")):
            raise FileNotFoundError(f"{folders[name]} is missing or empty; `make stitch` writes it")
    networks = Networks(**{**parameters["networks"], "device": "cpu"})
    generator = networks.load_generator("vae", "text", "denoiser")
    if aligned:
        load_lora(generator.denoiser, folders["aligned_generator"])
    if closed_form:
        fit, spec = load_fit(folders["stitch_layer"])
        decoder = StitchedDecoder(networks.load_reconstruction(), spec, fit).requires_grad_(False).eval()
    else:
        decoder = load_decoder(networks, folders["stitched_decoder"])
    return generator, decoder, GenerateParams(**parameters["generate"])


def make(
    generator: VideoGenerator, decoder: StitchedDecoder, prompt: str, config: SamplingConfig
) -> tuple[float, float, int]:
    """Seconds to latents and from there to Gaussians, and the number of Gaussians."""
    start = time.perf_counter()
    (latents,) = sample_latents(generator, generator.embed, [prompt], config, 0, CPU)
    middle = time.perf_counter()
    gaussians = decode_scene(generator, decoder, prompt, latents).scene.gaussians
    end = time.perf_counter()
    if gaussians is None or not bool(torch.isfinite(gaussians.means).all()):
        raise RuntimeError(f"prompt {prompt!r} gave no finite Gaussians")
    return middle - start, end - middle, gaussians.means.shape[1]


def main() -> int:
    """Load, warm up, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--aligned", action="store_true", help="with the adapter of the align pipeline")
    parser.add_argument("--closed-form", action="store_true", help="the stitch layer before distillation")
    parser.add_argument("--profile", action="store_true", help="also the operations that take the time")
    arguments = parser.parse_args()
    os.chdir(REPOSITORY)  # paths of the configuration start there
    start = time.perf_counter()
    try:
        generator, decoder, params = load(arguments.aligned, arguments.closed_form)
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 1
    loading = time.perf_counter() - start
    config = replace(params.part(SamplingConfig), steps=arguments.steps)
    first = sum(make(generator, decoder, WARM_UP, config)[:2])
    print(
        f"{config.steps} steps, guidance {config.guidance:g}, {config.frames} frames of {config.height} x {config.width}, "
        f"{torch.get_num_threads()} thread(s); loading the networks {loading:.1f} s, warm-up {first:.2f} s"
    )
    totals = []
    for prompt in PROMPTS:
        sampling, decoding, count = make(generator, decoder, prompt, config)
        totals.append(sampling + decoding)
        print(f"{totals[-1]:6.2f} s = latents {sampling:.2f} + decoding {decoding:.2f}: {count} Gaussians, {prompt!r}")
    print(f"median {statistics.median(totals):.2f} s, best {min(totals):.2f} s from prompt to Gaussians")
    if arguments.profile:
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            make(generator, decoder, WARM_UP, config)
        print(profile.key_averages().table(sort_by="self_cpu_time_total", row_limit=15, max_name_column_width=40))
    return 0


if __name__ == "__main__":
    sys.exit(main())

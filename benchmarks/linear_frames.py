"""Does a head that reads the image need the video decoder? Colours by a linear map of the latents, on the networks stored here.

On unseen scenes of the procedural world: the trunk sees the true frames; the Gaussian head reads the true frames, the frames of
the video decoder, or frames by one linear map of the latents (closed form, fitted on other scenes). Reported: likeness of the
linear frames to the decoded ones, of renderings at the given and at unseen cameras to the truth, and the seconds that each way
to the frames takes.

    python benchmarks/linear_frames.py [--fit 64] [--scenes 16] [--out linear_frames.json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from vist3a.metrics.image import psnr
from vist3a.pairing import load_generator, load_reconstruction
from vist3a.records import Clip
from vist3a.rendering import renderer_for
from vist3a.stitching.linear_frames import fit_linear_frames
from vist3a_lab.procedural import WorldConfig, make_world
from vist3a_lab.validation import scene_errors

WEIGHTS = Path(__file__).resolve().parents[1] / "data" / "06_models" / "embedded"
CPU = torch.device("cpu")
SIZE, FRAMES = 64, 13


def timed(work: Callable[[], Tensor]) -> tuple[Tensor, float]:
    """A result and its seconds."""
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


@torch.no_grad()
def main() -> int:
    """Fit, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--fit", type=int, default=64, help="scenes that the map is fitted on")
    parser.add_argument("--scenes", type=int, default=16, help="unseen scenes")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if not (WEIGHTS / "generator").is_dir():
        print(f"{WEIGHTS} holds no networks; `make setup` fetches them", file=sys.stderr)
        return 1
    generator = load_generator(
        "wan", str(WEIGHTS / "generator"), revision=None, parts=("vae",), dtype="float32", device=CPU
    )
    network = load_reconstruction("anysplat", str(WEIGHTS / "reconstruction"), dtype="float32", device=CPU)
    render = renderer_for(CPU)
    world = WorldConfig(91001, FRAMES, 2, height=SIZE, width=SIZE)
    known = WorldConfig(92001, FRAMES, 0, height=SIZE, width=SIZE)
    clips = (Clip(str(i), make_world(known, [i], device=CPU).rgb[0, :FRAMES]) for i in range(arguments.fit))
    maps = fit_linear_frames(clips, generator, (SIZE, SIZE), CPU)
    found: dict[str, list[float]] = {}
    for index in range(arguments.scenes):
        batch = make_world(world, [index], device=CPU)
        frames = batch.rgb[:, :FRAMES]
        latents = generator.encode(frames)
        decoded, decoding = timed(lambda z=latents: generator.decode(z))
        linear, mapping = timed(lambda z=latents: maps(z))
        rows = {"seconds, video decoder": decoding, "seconds, linear map": mapping}
        rows["dB, linear frames to decoded ones"] = float(psnr(linear, decoded).mean())
        taps, _ = network.trunk(frames)
        for name, rgb in (("true", frames), ("decoded", decoded), ("linear", linear)):
            output = network.heads(taps, (SIZE, SIZE), rgb)
            assert output.gaussians is not None
            given = render(output.gaussians, output.cameras, (SIZE, SIZE)).rgb.clamp(0, 1)
            rows[f"dB, given views, {name} frames"] = float(psnr(given, frames).mean())
            rows[f"dB, unseen views, {name} frames"] = scene_errors(output, batch, world, render)[0]["nvs_psnr"]
        for key, value in rows.items():
            found.setdefault(key, []).append(float(value))
    print(f"{arguments.scenes} unseen scenes, map fitted on {arguments.fit}: means")
    report = {key: statistics.fmean(values) for key, values in found.items()}
    for key, value in report.items():
        print(f"{key:40} {value:9.4f}")
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

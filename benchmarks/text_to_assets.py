"""Seconds from a prompt to every asset on disk, with the networks loaded: generation, scores, files, videos, viewer.

    python benchmarks/text_to_assets.py [--output FOLDER]

Reads the project as ``vist3a.load`` does (``make stitch`` first). One warm-up, then three prompts; the median must be at most
15 seconds (exit status 1 otherwise).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

import vist3a

LIMIT = 15.0
WARM_UP = "a red sphere on a wooden floor"
PROMPTS = (
    "a small blue cube on a stone floor",
    "a shiny green ball to the left of a yellow cone on a sandy ground",
    "a black cone and a red ball on a grassy ground at sunset",
)


def main() -> int:
    """Load, warm up, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--output", type=Path, help="keep the assets there")
    arguments = parser.parse_args()
    start = time.perf_counter()
    try:
        text_to_3d = vist3a.load(Path(__file__).resolve().parents[1])
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"loading {time.perf_counter() - start:.1f} s; {torch.get_num_threads()} thread(s)")
    totals = []
    with TemporaryDirectory() as temporary:
        folder = arguments.output or Path(temporary)
        for prompt in (WARM_UP, *PROMPTS):
            start, busy = time.perf_counter(), time.process_time()
            scene = text_to_3d.generate(prompt)
            made = time.perf_counter()
            files = [
                file for path in scene.save(folder).values() for file in ([path] if path.is_file() else path.iterdir())
            ]
            saved, used = time.perf_counter(), time.process_time() - busy
            size = sum(file.stat().st_size for file in files) / 2**20
            print(
                f"{saved - start:6.2f} s = scene {made - start:.2f} + assets {saved - made:.2f} ({used:.1f} s of CPU time): "
                f"{len(files)} files, {size:.1f} MiB, {scene.caption.facts.get('gaussians')} Gaussians, {prompt!r}"
            )
            totals.append(saved - start)
    median = statistics.median(totals[1:])
    print(f"median {median:.2f} s from prompt to assets (without the warm-up); limit {LIMIT:g} s")
    return int(median > LIMIT)


if __name__ == "__main__":
    sys.exit(main())

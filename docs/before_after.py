"""The first picture of README: the same prompts and noise before and after alignment, as films and as renderings of their 3D.

Of the held-out prompts of ``evaluate`` it shows those whose gain is nearest to the median: the gain in decibels when the original
3D network, which alignment does not look through, re-renders the decoded films. The 3D shown is that of the stitched decoder, at
its own cameras. Reads what ``make stitch`` leaves in ``data/06_models``.

    python docs/before_after.py            # writes docs/before_after.webp and docs/before_after.png
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import vist3a  # noqa: F401 (before torch, whose waiting threads would spin)

# isort: split
import torch
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from vist3a.export.video import to_bytes
from vist3a.generators.base import VideoGenerator
from vist3a.metrics.video import film_rows
from vist3a.rendering import renderer_for
from vist3a.runtime.atomic import replacing
from vist3a.runtime.device import resolve_device
from vist3a.sampling.sampling import SamplingConfig, decode_scene, sample_latents
from vist3a_app.configuration import LayeredConfigLoader
from vist3a_app.pipelines.align.params import AlignParams
from vist3a_app.pipelines.aligned import load_adapter
from vist3a_app.pipelines.evaluate.generation import heldout_prompts
from vist3a_app.pipelines.evaluate.params import EvaluateParams
from vist3a_app.pipelines.networks import Networks
from vist3a_app.pipelines.stitched import load_decoder
from vist3a_app.settings import CONFIG_LOADER_ARGS

COLUMNS = ("before: video", "before: its 3D", "after: video", "after: its 3D")
SHOWN = 3
SIDE, GAP, LINE, FONT = 144, 4, 17, 12
"""Pixels of a picture's side, between pictures, and of a line of text and its letters."""
BETWEEN = 14
"""Pixels between before and after."""
MILLISECONDS = 90
STILLS = (0.0, 0.5, 1.0)
"""Frames of the still picture, by their share of the film."""

Film = Float[Tensor, "views 3 height width"]


@dataclass(frozen=True)
class State:
    """What one state of a generator makes of the prompts: films, renderings of their 3D, and how well films re-render (dB)."""

    films: list[Film]
    rendered: list[Film]
    decibels: list[float]


@dataclass(frozen=True)
class Row:
    """One prompt: a film for each column, and how well the videos of both states re-render (dB)."""

    prompt: str
    films: tuple[Film, ...]
    decibels: tuple[float, float]


def nearest_to_median(gains: Sequence[float], count: int) -> list[int]:
    """Numbers of the ``count`` values nearest to the median, in their order; of equally near ones the first.

    Example:
        >>> nearest_to_median([1.0, 9.0, 3.0, 4.0, 0.0], 3)
        [0, 2, 3]
    """
    ordered = sorted(gains)
    median = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
    return sorted(sorted(range(len(gains)), key=lambda number: abs(gains[number] - median))[:count])


def page(rows: Sequence[Row], frames: Sequence[int]) -> Image.Image:
    """All rows; of every film the frames of these numbers beside one another."""
    cell = len(frames) * (SIDE + GAP) - GAP
    lefts = [GAP + column * (cell + GAP) + (BETWEEN if column > 1 else 0) for column in range(len(COLUMNS))]
    width, row_height = lefts[-1] + cell + GAP, SIDE + 2 * LINE + 2 * GAP
    sheet = Image.new("RGB", (width, LINE + GAP + len(rows) * row_height), "white")
    draw = ImageDraw.Draw(sheet)

    def write(left: int, top: int, text: str) -> None:
        size = FONT
        while draw.textlength(text, ImageFont.load_default(size)) > width - left and size > 1:
            size -= 1
        draw.text((left, top), text, "black", ImageFont.load_default(size))

    for left, name in zip(lefts, COLUMNS, strict=True):
        write(left, GAP, name)
    for number, row in enumerate(rows):
        top = LINE + GAP + number * row_height
        for left, film in zip(lefts, row.films, strict=True):
            for place, picture in enumerate(to_bytes(film[list(frames)])):
                enlarged = Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
                sheet.paste(enlarged, (left + place * (SIDE + GAP), top))
        for left, value in zip(lefts[::2], row.decibels, strict=True):
            write(left, top + SIDE, f"re-renders at {value:.1f} dB")
        write(lefts[0], top + SIDE + LINE, row.prompt)
    return sheet


def save_animation(path: Path, rows: Sequence[Row]) -> None:
    """An animated WebP that runs through the films and back, so that the repeat is no cut."""
    last = len(rows[0].films[0]) - 1
    pages = [page(rows, [frame]) for frame in [*range(last + 1), *range(last - 1, 0, -1)]]
    # A GIF of a size that a page loads at once has too few colors: its skies are bands.
    with replacing(path) as temporary:
        pages[0].save(
            temporary,
            "WebP",
            save_all=True,
            append_images=pages[1:],
            duration=MILLISECONDS,
            loop=0,
            quality=80,
            method=6,
        )


def save_still(path: Path, rows: Sequence[Row]) -> None:
    """A PNG with the first, the middle and the last frame."""
    last = len(rows[0].films[0]) - 1
    with replacing(path) as temporary:
        page(rows, [round(share * last) for share in STILLS]).quantize(256).save(temporary, "PNG", optimize=True)


class Bed:
    """The networks and settings of a project, which is the working directory."""

    def __init__(self, env: str | None) -> None:
        loader = LayeredConfigLoader("conf", env=env, **CONFIG_LOADER_ARGS)
        groups, places = loader["parameters"], loader["catalog"]
        self.params, align = EvaluateParams(**groups["evaluate"]), AlignParams(**groups["align"])
        self.networks = Networks(**groups["networks"])
        self.device = resolve_device(self.networks.device)
        self.prompts, _ = heldout_prompts(self.params, align)
        self.stitched, self.aligned, texts = (
            Path(places[name]["filepath"]) for name in ("stitched_decoder", "aligned_generator", "text_embeddings")
        )
        self.decoder, self.original = load_decoder(self.networks, self.stitched), self.networks.load_reconstruction()
        self.embed, self.negative = self.networks.embed(self.prompts, texts)
        self.render = renderer_for(self.device)

    @torch.no_grad()
    def state(self, generator: VideoGenerator) -> State:
        """The generator as it is now."""
        params = self.params
        latents = sample_latents(
            generator, self.embed, self.prompts, params.part(SamplingConfig), params.seed, self.device, self.negative,
            params.batch,
        )  # fmt: skip
        films, rendered = [], []
        for prompt, raw in zip(self.prompts, latents, strict=True):
            made = decode_scene(generator, self.decoder, prompt, raw)
            if made.scene.gaussians is None:
                raise ValueError("networks.reconstruction: it has no Gaussians, so nothing can be rendered")
            size = (made.frames.shape[-2], made.frames.shape[-1])
            films.append(made.frames[0])
            rendered.append(self.render(made.scene.gaussians, made.scene.cameras, size).rgb.clamp(0, 1)[0])
        return State(films, rendered, film_rows(self.original, self.render, films)["rerender"])

    def rows(self) -> list[Row]:
        """The prompts of median gain."""
        generator = self.networks.load_generator("vae", "denoiser")
        # One generator for both: only the adapter comes in between, prompts and noise stay.
        before = self.state(generator)
        load_adapter(self.networks, generator, self.aligned, self.stitched)
        after = self.state(generator)
        gains = [late - early for early, late in zip(before.decibels, after.decibels, strict=True)]
        return [
            Row(
                self.prompts[i],
                (before.films[i], before.rendered[i], after.films[i], after.rendered[i]),
                (before.decibels[i], after.decibels[i]),
            )
            for i in nearest_to_median(gains, SHOWN)
        ]


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", help="folder of conf, as of `kedro run`")
    parser.add_argument("--out", type=Path, default=Path("docs/before_after.webp"), help="beside it the still picture")
    asked = parser.parse_args()
    try:
        rows = Bed(asked.env).rows()
    except (FileNotFoundError, ValueError) as error:
        parser.exit(1, f"{error}\n")
    save_animation(asked.out, rows)
    save_still(asked.out.with_suffix(".png"), rows)
    for row in rows:
        print(f"{row.prompt}: {row.decibels[0]:.1f} dB before, {row.decibels[1]:.1f} dB after")


if __name__ == "__main__":
    main()

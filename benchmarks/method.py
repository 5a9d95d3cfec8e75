"""Does the method pay off? Noise-aware stitching and aligned generators against what a user would do instead, in one run.

Stitching: novel views, depth and rotation of exact scenes, from latents with noise of several shares of their root mean square:
the stitched and distilled decoder beside decoding to frames first and running the original 3D network on them.

Alignment: films of held-out prompts before, after finetuning by the generative loss alone, and after full alignments, as the
*original* 3D network sees them: how well they re-render, how far the camera moves, how much the light flickers; and whether a
judge that nothing was optimized against finds the prompt. Differences are paired by scene or prompt, with 95 % intervals.

    python benchmarks/method.py --out method.json                   # the embedded networks, on a GPU
    python benchmarks/method.py --generator FOLDER --seed 2 --out method.json
    python benchmarks/method.py --tiny --out method.json            # the same code on the CPU, too short to show anything
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vist3a.adapters.lora import add_lora
from vist3a.alignment.align import AlignData, AlignRun, align
from vist3a.alignment.align_settings import AlignSettings
from vist3a.alignment.rewards.consistency import feature_distance
from vist3a.alignment.rewards.geometry import coarse_path
from vist3a.alignment.rewards.terms import weighted_terms
from vist3a.distillation.distill import DistillSettings, distill
from vist3a.distillation.distill_loss import DistillWeights
from vist3a.distillation.latent_noise import LatentNoise
from vist3a.distillation.match_tokens import MatchTokensConfig
from vist3a.distillation.photometric import Photometric
from vist3a.generators.wan import WanGenerator
from vist3a.metrics.aggregate import paired_difference
from vist3a.metrics.exact_scenes import scene_errors
from vist3a.metrics.latent_noise import add_latent_noise
from vist3a.metrics.video import film_figures
from vist3a.networks.anysplat import AnySplat
from vist3a.records import Clip, ExactScenes
from vist3a.rendering import renderer_for
from vist3a.runtime.atomic import replacing
from vist3a.runtime.loop import LoopConfig
from vist3a.sampling.sampling import SamplingConfig, sample_latents
from vist3a.stitching.base import Decoder
from vist3a.stitching.decoder import StitchedDecoder
from vist3a.stitching.layer_search import NOISE_SHARES, LayerSearch, find_layer
from vist3a.stitching.sequential import SequentialDecoder
from vist3a.stitching.tuning import prepare
from vist3a_lab.procedural import Prompt, sample_prompts
from vist3a_lab.scorers import DualEncoder
from vist3a_lab.scorers.judging import shows
from vist3a_lab.world import ProceduralWorld

EMBEDDED = Path(__file__).resolve().parents[1] / "data" / "06_models" / "embedded"
FRAMES, SIZE = 13, 64
POINT = "encoder.00"
REWARD = {
    "text_decoded": 1.0,
    "text_rendered": 1.0,
    "consistency_l1": 4.0,
    "consistency_perceptual": 1.0,
    "reprojection": 1.0,
}


@dataclass(frozen=True)
class Sizes:
    """Data and steps; the defaults are for one GPU."""

    fitted: int = 320
    clips: int = 1600
    scenes: int = 40
    prompts: int = 64
    match: int = 900
    outputs: int = 450
    align: int = 50
    match_batch: int = 64
    outputs_batch: int = 24
    rollouts: int = 12
    shares: tuple[float, ...] = NOISE_SHARES


TINY = Sizes(8, 10, 2, 2, 2, 1, 1, 2, 1, 2, (0.0, 0.26))


@dataclass(frozen=True)
class Variant:
    """One alignment: weights of the reward's terms, and of the generative loss."""

    rewards: Mapping[str, float]
    generative: float


VARIANTS = {
    "generative alone": Variant({"text_decoded": 0.0}, 1.0),
    "full": Variant(REWARD, 0.5),
    "full, motion held": Variant({**REWARD, "camera_motion": 6.0}, 1.0),
}


@dataclass
class Bed:
    """Networks and data of one run."""

    device: torch.device
    sizes: Sizes
    seed: int
    generator_folder: Path
    guidance: float
    figures: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.world, self.render = ProceduralWorld(), renderer_for(self.device)
        self.original = self.reconstruction()
        self.generator = self.load_generator()
        numbers = range(self.sizes.clips)
        parts = [self.exact(70001 + self.seed, numbers[i : i + 100]) for i in range(0, len(numbers), 100)]
        captions = [caption for part in parts for caption in part.captions]
        films = torch.cat([part.given.cpu() for part in parts])
        self.clips = [Clip(f"c{i}", film, captions[i]) for i, film in enumerate(films)]
        self.heldout = self.exact(60101 + self.seed, range(self.sizes.scenes), extra=4)

    def exact(self, seed: int, numbers: Sequence[int], extra: int = 0) -> ExactScenes:
        """Scenes with their truth."""
        return self.world.scenes(seed, list(numbers), (SIZE, SIZE), FRAMES, extra, self.device)

    def reconstruction(self) -> AnySplat:
        """A fresh copy of the 3D network."""
        return AnySplat.from_pretrained(EMBEDDED / "reconstruction").to(self.device).eval()

    def load_generator(self) -> WanGenerator:
        """A fresh copy of the generator."""
        return WanGenerator.from_pretrained(
            str(self.generator_folder), parts=("vae", "text", "denoiser"), device=self.device
        )

    def scorer(self, name: str) -> DualEncoder:
        """A frozen scorer."""
        return DualEncoder.from_pretrained(EMBEDDED / name).to(self.device).eval().requires_grad_(False)


def search(bed: Bed, noise: float) -> LayerSearch:
    """The layer search for latents with noise; the report has R^2 of every point against the noise."""
    fitted, count = bed.sizes.fitted, len(bed.clips)
    films = bed.heldout.given.cpu()
    splits = {
        "fit": bed.clips[: int(fitted * 0.8)],
        "selection": bed.clips[int(fitted * 0.8) : min(fitted, count)],
        "heldout": [Clip(f"h{i}", film, "") for i, film in enumerate(films)],
    }
    found = find_layer(
        bed.generator, bed.original, splits, kinds=("encoder",), bias="position", noise=noise, seed=bed.seed
    )
    curves = {f"{share:g}": values for share, values in found.under_noise(bed.sizes.shares).items()}
    bed.figures[f"search for noise {noise:g}"] = {"best": found.best.point, "ridge": found.best.ridge, "r2": curves}
    return found


def stitched_decoder(bed: Bed, found: LayerSearch) -> StitchedDecoder:
    """Stitched at the first block and distilled on noisy latents, in both rounds, against outputs and frames."""
    decoder = found.decoder(bed.reconstruction(), POINT)
    prepare(decoder, "full", 0, 0.0)
    noise, sizes = LatentNoise(most=0.35), bed.sizes
    match = LoopConfig(steps=sizes.match, learning_rate=1e-3, warmup=30, weight_decay=0.0, ema=0.99)
    outputs = replace(match, steps=sizes.outputs, learning_rate=2e-4)
    settings = DistillSettings(
        seed=bed.seed,
        match=MatchTokensConfig(point="encoder.norm", batch=sizes.match_batch, noise=noise, loop=match),
        batch=sizes.outputs_batch,
        views=(FRAMES,),
        features=("encoder.norm", "aggregator.global.01", "aggregator.global.03"),
        mirror=True,
        noise=noise,
        photometric=Photometric(),
        weights=DistillWeights(features=2.0, pose=5.0, points=1.0),
        loop=outputs,
    )
    distill(decoder, bed.original, bed.generator, bed.clips, settings)
    return decoder.requires_grad_(False).eval()


@torch.no_grad()
def errors_under_noise(bed: Bed, decoder: Decoder) -> dict[str, dict[str, list[float]]]:
    """Errors per scene, by share of noise; a scene has the same noise, scaled, at all levels and for all decoders."""
    found: dict[str, dict[str, list[float]]] = {}
    scenes = bed.heldout
    for share in bed.sizes.shares:
        rows = found.setdefault(f"{share:g}", {})
        for i in range(bed.sizes.scenes):
            one = slice(i, i + 1)
            scene = ExactScenes(
                scenes.rgb[one], scenes.depth[one], scenes.cameras[one], scenes.captions[one], scenes.frames
            )
            latents = bed.generator.encode(scene.given)
            # Of the norm over a clip, as the paper states noise, a share of the root mean square is this part.
            latents = add_latent_noise(latents, share / latents[0].numel() ** 0.5, [bed.seed * 1000 + i])
            output = decoder(latents, (SIZE, SIZE), rgb=bed.generator.decode(latents))
            for name, value in scene_errors(output, scene, bed.render)[0].items():
                rows.setdefault(name, []).append(value)
    return found


def sampled(bed: Bed, generator: WanGenerator, prompts: Sequence[Prompt]) -> Tensor:
    """Decoded films of the prompts, each from its own noise."""
    config = SamplingConfig(steps=12, guidance=bed.guidance, frames=FRAMES, height=SIZE, width=SIZE)
    texts = [prompt.text for prompt in prompts]
    with torch.no_grad():
        latents = sample_latents(generator, generator.embed, texts, config, bed.seed, bed.device, batch=16)
        return torch.cat([generator.decode(one) for one in latents]).clamp(0, 1)


def film_rows(bed: Bed, films: Tensor, prompts: Sequence[Prompt] = (), judge: DualEncoder | None = None) -> Any:
    """Figures per film."""
    parts = [film_figures(bed.original, bed.render, block) for block in films.split(16)]
    rows = {name: torch.cat([getattr(part, name) for part in parts]).tolist() for name in vars(parts[0])}
    if judge is not None:
        rows["right"] = [float(shows(judge, p.text, film)) for p, film in zip(prompts, films, strict=True)]
    return rows


def aligned(bed: Bed, decoder: StitchedDecoder, variant: Variant, motion: float) -> WanGenerator:
    """The generator after an alignment on the curated, clean, static clips."""
    generator, scorer = bed.load_generator(), bed.scorer("reward_scorer")
    add_lora(generator.denoiser, rank=16, alpha=32, targets=("to_q", "to_k", "to_v", "to_out.0"), seed=bed.seed)
    rewards = weighted_terms(variant.rewards, {"text": scorer}, feature_distance(scorer.feature_maps), motion)
    settings = AlignSettings(
        seed=bed.seed,
        frames=FRAMES,
        height=SIZE,
        width=SIZE,
        prompts_per_step=bed.sizes.rollouts,
        clips_per_step=bed.sizes.rollouts,
        variant="released",
        denoising_steps=12,
        gradient_steps=2,
        gradient_batch=3,
        guidance=bed.guidance,
        scored_views=6,
        generative_weight=variant.generative,
        loop=LoopConfig(
            steps=bed.sizes.align, learning_rate=1e-3, warmup=5, weight_decay=0.0, betas=(0.9, 0.95),
            gradient_clip=0.1, ema=0.9,
        ),
    )  # fmt: skip
    prompts = [prompt.text for prompt in sample_prompts(93001, 256)]
    align(generator, decoder, rewards, AlignData(prompts, bed.clips[:512], generator.embed), settings, AlignRun())
    return generator


def print_rows(title: str, rows: Mapping[str, Sequence[float]], against: Mapping[str, Sequence[float]] | None) -> None:
    """Means and, beside another variant, paired differences with their intervals."""
    told = []
    for name, values in rows.items():
        text = f"{name} {sum(values) / len(values):.4g}"
        if against is not None and len(values) > 1:
            gap = paired_difference(against[name], values, 0)
            text += f" ({gap['difference']:+.3g}, {gap['difference_low']:+.3g} to {gap['difference_high']:+.3g})"
        told.append(text)
    print(f"{title:<28}", "; ".join(told), flush=True)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generator", type=Path, default=EMBEDDED / "generator")
    parser.add_argument("--guidance", type=float, default=4.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--noise", type=float, default=0.15, help="share of the latents' size that the layer is fitted for"
    )
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    bed = Bed(device, TINY if asked.tiny else Sizes(), asked.seed, asked.generator, asked.guidance)
    search(bed, 0.0)
    found = search(bed, asked.noise)
    decoders = {"decode first": SequentialDecoder(bed.original), "stitched": stitched_decoder(bed, found)}
    errors = {name: errors_under_noise(bed, decoder) for name, decoder in decoders.items()}
    bed.figures["errors"] = errors
    for share, rows in errors["stitched"].items():
        print_rows(f"noise {share}: decode first", errors["decode first"][share], None)
        print_rows(f"noise {share}: stitched", rows, errors["decode first"][share])
    with torch.no_grad():
        paths = [coarse_path(decoders["stitched"](bed.generator.encode(film[None]), (SIZE, SIZE), rgb=film[None]))
                 for film in bed.heldout.given]  # fmt: skip
    motion = float(torch.cat(paths).mean())
    prompts, judge = sample_prompts(92001 + bed.seed, bed.sizes.prompts), bed.scorer("judge")
    films = {"true clips": film_rows(bed, bed.heldout.given)}
    films["unaligned"] = film_rows(bed, sampled(bed, bed.generator, prompts), prompts, judge)
    for name, variant in VARIANTS.items():
        films[name] = film_rows(
            bed, sampled(bed, aligned(bed, decoders["stitched"], variant, motion), prompts), prompts, judge
        )
    bed.figures |= {"films": films, "motion_held": motion, "seed": asked.seed, "guidance": asked.guidance}
    print_rows("true clips", films["true clips"], None)
    for name in ("unaligned", *VARIANTS):
        print_rows(name, films[name], films["unaligned"] if name != "unaligned" else None)
    with replacing(asked.out) as temporary:
        temporary.write_text(json.dumps(bed.figures, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Does alignment forget what its prompts and clips hardly ever show?

The generator is aligned twice by each seed with the same decoder, reward, noise and number of prompts and clips: on these as they
come, and with those of one kind made rare. A judge that nothing was optimized against then looks at films of held-out prompts of
that kind and of others. A need for capacity that is kept for rare kinds shows as a loss of the kind from "as they come" to "made
rare" that others do not have ("of the kind less others"). Differences are paired, 95 % intervals over seeds and prompts.

    python benchmarks/rare_kinds.py --out rare.json                  # the embedded networks, on a GPU
    python benchmarks/rare_kinds.py --tiny --out rare.json           # the same code on the CPU, too short to show anything
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from vist3a.adapters.lora import add_lora
from vist3a.alignment.align import AlignData, align
from vist3a.alignment.align_settings import AlignSettings
from vist3a.alignment.rewards.consistency import feature_distance
from vist3a.alignment.rewards.terms import weighted_terms
from vist3a.data.world import unseen_prompts
from vist3a.distillation.distill import DistillSettings, distill
from vist3a.distillation.latent_noise import LatentNoise
from vist3a.distillation.match_tokens import MatchTokensConfig
from vist3a.generators.wan import WanGenerator
from vist3a.networks.anysplat import AnySplat
from vist3a.records import Clip
from vist3a.runtime.atomic import replacing
from vist3a.runtime.loop import LoopConfig
from vist3a.sampling.sampling import SamplingConfig, sample_latents
from vist3a.stitching.decoder import StitchedDecoder
from vist3a.stitching.layer_search import find_layer
from vist3a.stitching.tuning import prepare
from vist3a_lab.claims.pooled import Pooled
from vist3a_lab.procedural.kinds import KINDS
from vist3a_lab.scorers import DualEncoder
from vist3a_lab.scorers.judging import shows
from vist3a_lab.world import ProceduralWorld

EMBEDDED = Path(__file__).resolve().parents[1] / "data" / "06_models" / "embedded"
FRAMES, SIZE, POINT, NOISE = 13, 64, "encoder.00", 0.15
REWARD = {"text_decoded": 1.0, "text_rendered": 1.0, "consistency_l1": 4.0, "consistency_perceptual": 1.0}
BEFORE, DRAWN, RARE = "before", "as they come", "made rare"
KIND, OTHERS, GAP = "of the kind", "others", "of the kind less others"
PARTS, TARGETS = ("vae", "text", "denoiser"), ("to_q", "to_k", "to_v", "to_out.0")
WORLD = ProceduralWorld()


@dataclass(frozen=True)
class Sizes:
    """Data and steps; the defaults are for one GPU."""

    fitted: int = 320
    scenes: int = 1600
    clips: int = 512
    prompts: int = 256
    judged: int = 96
    match: int = 700
    outputs: int = 250
    align: int = 60
    rollouts: int = 12


TINY = Sizes(8, 12, 5, 4, 2, 1, 1, 1, 2)


def picked(items: Sequence[Any], of_kind: Callable[[Any], bool], count: int, share: float | None) -> list[Any]:
    """``count`` of the items, ``share`` of them of the kind, spread evenly over the list; None: the first, as they come."""
    if share is None:
        return list(items[:count])
    wanted = round(share * count)
    rare, others = ([item for item in items if of_kind(item) == own] for own in (True, False))
    if len(rare) < wanted or len(others) < count - wanted:
        raise ValueError(f"share {share:g} of {count}: there are {len(rare)} of the kind and {len(others)} others")
    places = {int((n + 0.5) * count / wanted) for n in range(wanted)}
    sources = iter(rare), iter(others)
    return [next(sources[place not in places]) for place in range(count)]


def load_generator(device: torch.device, folder: Path) -> WanGenerator:
    """A fresh copy of the generator."""
    return WanGenerator.from_pretrained(str(folder), parts=PARTS, device=device)


def stitched(generator: WanGenerator, clips: Sequence[Clip], sizes: Sizes, device: torch.device) -> StitchedDecoder:
    """The decoder that the reward looks through, fitted and briefly distilled with noise; the same for all alignments."""
    networks = [AnySplat.from_pretrained(EMBEDDED / "reconstruction").to(device).eval() for _ in range(2)]
    found = find_layer(generator, networks[0], clips[: sizes.fitted], kinds=("encoder",), bias="position", noise=NOISE)
    decoder, noise = found.decoder(networks[1], POINT), LatentNoise(most=0.35)
    prepare(decoder, "full", 0, 0.0)
    match = LoopConfig(steps=sizes.match, learning_rate=1e-3, warmup=30, weight_decay=0.0, ema=0.99)
    batch = min(24, sizes.fitted // 4)
    rounds = DistillSettings(
        seed=0, match=MatchTokensConfig(point="encoder.norm", batch=2 * batch, noise=noise, loop=match), batch=batch,
        views=(FRAMES,), features=("encoder.norm",), mirror=True, noise=noise,
        loop=replace(match, steps=sizes.outputs, learning_rate=2e-4),
    )  # fmt: skip
    distill(decoder, networks[0], generator, clips, rounds)
    return decoder.requires_grad_(False).eval()


@dataclass(frozen=True)
class Experiment:
    """What all variants have in common."""

    asked: argparse.Namespace
    sizes: Sizes
    device: torch.device
    clips: Sequence[Clip]
    decoder: StitchedDecoder

    def scorer(self, name: str) -> DualEncoder:
        """A frozen scorer."""
        return DualEncoder.from_pretrained(EMBEDDED / name).to(self.device).eval().requires_grad_(False)

    def of_kind(self, text: str) -> bool:
        """Whether a text is of the kind that is made rare."""
        return self.asked.kind in WORLD.kinds(text)

    def drawn(self, seed: int) -> list[str]:
        """Prompts that the alignments of a seed choose theirs from."""
        return WORLD.prompts(93001 + seed, 3 * self.sizes.prompts)

    def aligned(self, seed: int, share: float | None) -> WanGenerator:
        """The generator after an alignment on prompts and clips of which ``share`` are of the kind."""
        sizes, scorer = self.sizes, self.scorer("reward_scorer")
        generator = load_generator(self.device, self.asked.generator)
        add_lora(generator.denoiser, rank=self.asked.rank, alpha=2 * self.asked.rank, targets=TARGETS, seed=seed)
        settings = AlignSettings(
            seed=seed, frames=FRAMES, height=SIZE, width=SIZE, prompts_per_step=sizes.rollouts, clips_per_step=sizes.rollouts,
            denoising_steps=12, gradient_steps=2, guidance=self.asked.guidance, scored_views=6, generative_weight=0.5,
            variant="released", gradient_batch=3,
            loop=LoopConfig(steps=sizes.align, learning_rate=1e-3, warmup=5, weight_decay=0.0, betas=(0.9, 0.95),
                            gradient_clip=0.1, ema=0.9),
        )  # fmt: skip
        prompts = picked(self.drawn(seed), self.of_kind, sizes.prompts, share)
        clips = picked(self.clips, lambda clip: self.of_kind(clip.caption), sizes.clips, share)
        rewards = weighted_terms(REWARD, {"text": scorer}, feature_distance(scorer.feature_maps))
        align(generator, self.decoder, rewards, AlignData(prompts, clips, generator.embed), settings)
        rare, seen = (sum(map(self.of_kind, own)) for own in (prompts, [clip.caption for clip in clips]))
        print(f"seed {seed}: {rare} of {len(prompts)} prompts, {seen} of {len(clips)} clips are of the kind")
        return generator

    @torch.no_grad()
    def verdicts(self, generator: WanGenerator, seed: int) -> dict[str, list[float]]:
        """Of held-out prompts of the kind, and of as many others; every variant of a seed has the same prompts and noise."""
        judge, count, found = self.scorer("judge"), self.sizes.judged, {}
        texts = unseen_prompts(WORLD, 92001 + seed, 8 * count, self.drawn(seed))
        config = SamplingConfig(steps=12, guidance=self.asked.guidance, frames=FRAMES, height=SIZE, width=SIZE)
        for name, wanted in ((KIND, True), (OTHERS, False)):
            own = [text for text in texts if self.of_kind(text) == wanted][:count]
            latents = sample_latents(generator, generator.embed, own, config, seed, self.device, batch=16)
            films = [generator.decode(one).clamp(0, 1)[0] for one in latents]
            found[name] = [float(shows(judge, text, film)) for text, film in zip(own, films, strict=True)]
        return found | {GAP: [one - other for one, other in zip(found[KIND], found[OTHERS], strict=True)]}


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generator", type=Path, default=EMBEDDED / "generator")
    parser.add_argument("--kind", default="shape: cone", choices=KINDS)
    parser.add_argument("--share", type=float, default=0.02, help="of the kind, among prompts and clips")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--guidance", type=float, default=4.0)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    device, sizes = torch.device("cuda" if torch.cuda.is_available() else "cpu"), TINY if asked.tiny else Sizes()
    clips: list[Clip] = []
    for start in range(0, sizes.scenes, 100):
        made = WORLD.scenes(70001, range(start, min(start + 100, sizes.scenes)), (SIZE, SIZE), FRAMES, 0, device)
        clips += [Clip(f"c{start + n}", film.cpu(), made.captions[n]) for n, film in enumerate(made.given)]
    before = load_generator(device, asked.generator)
    bed, by_seed = Experiment(asked, sizes, device, clips, stitched(before, clips, sizes, device)), {}
    for seed in asked.seeds:
        variants = {BEFORE: before, DRAWN: bed.aligned(seed, None), RARE: bed.aligned(seed, asked.share)}
        by_seed[str(seed)] = {name: bed.verdicts(generator, seed) for name, generator in variants.items()}
    pooled, shares, differences = Pooled(by_seed, 0), {}, {}
    for name in (KIND, OTHERS, GAP):
        shares |= {f"{name}, {variant}": pooled.mean(variant, name) for variant in (BEFORE, DRAWN, RARE)}
        for one, other in ((DRAWN, BEFORE), (RARE, BEFORE), (RARE, DRAWN)):
            differences[f"{name}, {one} - {other}"] = pooled.difference(one, other, name)
    for what, estimate in (shares | differences).items():
        print(f"{what:<56} {estimate['value']:+.3f} ({estimate['low']:+.3f} to {estimate['high']:+.3f})")
    report = {"about": vars(asked), "verdicts": by_seed, "shares": shares, "differences": differences}
    with replacing(asked.out) as temporary:
        temporary.write_text(json.dumps(report, indent=1, default=str) + "\n")


if __name__ == "__main__":
    main()

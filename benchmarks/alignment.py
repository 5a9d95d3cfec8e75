"""A step of reward alignment at full size: this project beside a plain version of the public step, in one run, random weights.

Wan 2.1 1.3B (bfloat16) with an adapter of rank 8, AnySplat at its published size, 13 frames of 512 px (448 px for the 3D
network), 30 steps of UniPC with flow shift 3 and guidance 5, gradient through three (the cost of two at random and the last), one
prompt, four clips for the generative loss, two ViT-H scorers that see 14 images each. Both sides do the same arithmetic on the
same draws: the plain step keeps one graph over everything, calls the denoiser twice per step and runs eagerly under
bfloat16 autocast; ours is ``vist3a.training.align.align``. Both recompute blocks in the backward pass.

Gradients of the adapter are compared twice: of the whole step, and with our rollout replaced by the plain one's, which leaves
out what rounding does to 30 denoising steps.

    python benchmarks/alignment.py --out alignment.json          # CUDA, under five minutes
    python benchmarks/alignment.py --tiny --out alignment.json   # the same code on the CPU in seconds, tiny networks
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from generate import FULL, PROMPT, TINY, Clock, Sizes, make, peak, reset_peak
from torch import Tensor, nn
from torch.nn import functional

from vist3a.models.generators.wan import WanGenerator
from vist3a.records import Clip, Condition
from vist3a.rendering import renderer_for
from vist3a.rewards.base import Views
from vist3a.rewards.consistency import PhotometricConsistency
from vist3a.rewards.text_image import TextImageReward
from vist3a.rewards.weighted_sum import WeightedSum
from vist3a.stitching.decoder import StitchedDecoder
from vist3a.training import align as alignment
from vist3a.training.align import AlignSampling
from vist3a.training.loop import LoopConfig, step_generator
from vist3a.training.rollout import Rollout, prediction_coefficients, prompt_noise

SEED = 0
FASTER, LEANER, ALIKE = 2.5, 0.7, 0.999
Gradients = dict[str, Tensor]


@dataclass(frozen=True)
class Setting:
    """What differs between the full size and a rehearsal, beside the networks: steps, scored views, scorers' sizes."""

    steps: int
    gradient_steps: int
    scored_views: int
    scorers: tuple[Mapping[str, int], ...]


VIT_H = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 16}
SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
FULL_SETTING = Setting(
    30,
    3,
    7,
    (VIT_H | {"image_size": 224, "projection_dim": 1024}, VIT_H | {"image_size": 378, "projection_dim": 1024}),
)
TINY_SETTING = Setting(
    5, 3, 2, (SMALL | {"image_size": 28, "projection_dim": 16}, SMALL | {"image_size": 42, "projection_dim": 16})
)


class VisionScorer(nn.Module):
    """The image tower of a CLIP-like scorer with random weights; the text is one random direction."""

    def __init__(self, sizes: Mapping[str, int], dtype: torch.dtype, device: torch.device) -> None:
        from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

        super().__init__()
        self.size = sizes["image_size"]
        with torch.device(device):
            self.tower = CLIPVisionModelWithProjection(CLIPVisionConfig(**sizes, patch_size=14)).to(dtype)
        self.text = functional.normalize(torch.randn(1, sizes["projection_dim"], device=device), dim=-1)
        self.requires_grad_(False).eval()

    def embed_text(self, texts: Sequence[str]) -> Tensor:
        """Unit embeddings, the same for all texts."""
        return self.text.expand(len(texts), -1)

    def score(self, images: Tensor, text: Tensor) -> Tensor:
        """Cosine similarity of each image with its text embedding."""
        seen = functional.interpolate(images, (self.size, self.size), mode="bicubic", antialias=True) * 4 - 2
        found = self.tower(pixel_values=seen.to(self.tower.dtype)).image_embeds.float()
        return (functional.normalize(found, dim=-1) * text).sum(-1)


@dataclass
class Scene:
    """Everything a step needs."""

    generator: WanGenerator
    decoder: StitchedDecoder
    text: Condition
    negative: Condition
    rewards: WeightedSum
    clips: list[Clip]
    sampling: AlignSampling
    sizes: Sizes
    clock: Clock

    @property
    def device(self) -> torch.device:
        """Where everything is."""
        return self.clock.device

    def embed(self, texts: Sequence[str]) -> Condition:
        """The one text there is."""
        return self.text.rows(len(texts))


@dataclass
class Measured:
    """Seconds of the timed steps, of their parts, and the peak of device memory in GiB."""

    seconds: list[float] = field(default_factory=list)
    parts: dict[str, list[float]] = field(default_factory=dict)
    peak: float = 0.0
    first: float = 0.0

    @property
    def step(self) -> float:
        """Median seconds of a step."""
        return statistics.median(self.seconds)

    def report(self) -> dict[str, Any]:
        """For the JSON file."""
        parts = {name: statistics.median(values) for name, values in self.parts.items()}
        return {"step": self.step, "seconds": self.seconds, "first": self.first, "peak": self.peak, "parts": parts}


def build(sizes: Sizes, setting: Setting, clock: Clock) -> Scene:
    """Networks with a trainable adapter, scorers, clips of smooth noise."""
    device = clock.device
    generator, decoder, text, negative = make(sizes, device)
    for name, parameter in generator.transformer.named_parameters():
        parameter.requires_grad_("lora_" in name)
    # One guess stands for all draws: networks of random weights prefer nothing.
    torch.manual_seed(3)
    scorers = [VisionScorer(size, sizes.dtype, device) for size in setting.scorers]
    terms: dict[str, Any] = {"consistency_l1": PhotometricConsistency()}
    for number, scorer in enumerate(scorers):
        terms |= {f"{number}_decoded": TextImageReward(scorer, "decoded")}
        terms |= {f"{number}_rendered": TextImageReward(scorer, "rendered")}
    weights = {name: 0.05 if name == "consistency_l1" else 0.25 for name in terms}
    random = torch.Generator().manual_seed(4)
    side = sizes.video
    coarse = torch.rand(4, 3, sizes.frames, side // 16, side // 16, generator=random)
    smooth = functional.interpolate(coarse, (sizes.frames, side, side), mode="trilinear").transpose(1, 2)
    sampling = AlignSampling(
        prompts_per_step=1,
        clips_per_step=4,
        denoising_steps=setting.steps,
        gradient_steps=setting.gradient_steps,
        guidance=5.0,
        scored_views=setting.scored_views,
        generative_weight=1.0,
        frames=sizes.frames,
        height=side,
        width=side,
        flow_shift=3.0,
    )
    clips = [Clip(f"noise-{number}", frames.contiguous()) for number, frames in enumerate(smooth)]
    return Scene(generator, decoder, text, negative, WeightedSum(terms, weights), clips, sampling, sizes, clock)


@contextmanager
def caught(scene: Scene) -> Iterator[Callable[[], Gradients]]:
    """Everything that flows into the adapter's gradients within; the function takes it and starts anew."""
    parameters = {n: p for n, p in scene.generator.transformer.named_parameters() if p.requires_grad}
    sums = {name: torch.zeros_like(p, dtype=torch.float32) for name, p in parameters.items()}

    def adding(name: str) -> Callable[[Tensor], None]:
        def add(gradient: Tensor) -> None:
            sums[name] += gradient.float()

        return add

    hooks = [parameter.register_hook(adding(name)) for name, parameter in parameters.items()]

    def take() -> Gradients:
        taken = {name: total.clone() for name, total in sums.items()}
        for total in sums.values():
            total.zero_()
        return taken

    try:
        yield take
    finally:
        for hook in hooks:
            hook.remove()


def plain_step(scene: Scene, step: int, measured: Measured) -> Rollout:
    """The public step, end to end in one graph: draws of ``step``, gradients on the adapter; the rollout it made."""
    from diffusers import UniPCMultistepScheduler

    generator, sampling, clock, device = scene.generator, scene.sampling, scene.clock, scene.device
    random = step_generator(SEED, step)
    keep = torch.randperm(sampling.denoising_steps, generator=random)[: sampling.gradient_steps].tolist()
    views = torch.randperm(sampling.frames, generator=random)[: sampling.scored_views].sort().values
    times = [clock.now()]
    with torch.autocast(device.type, torch.bfloat16, enabled=scene.sizes.dtype == torch.bfloat16):
        generative = sampling.generative_weight * _plain_generative(scene, random)
        times.append(clock.now())
        shape = generator.latent_grid(sampling.frames, sampling.height, sampling.width)
        z = prompt_noise(PROMPT, SEED + step, shape, device)
        scheduler = UniPCMultistepScheduler.from_config(generator.scheduler.config, flow_shift=sampling.flow_shift)
        scheduler.set_timesteps(sampling.denoising_steps, device=device)
        inputs = {}
        for k, timestep in enumerate(scheduler.timesteps):
            if k in keep:
                inputs[k] = z.detach()
            with torch.set_grad_enabled(k in keep):
                seen, when = z.detach().to(generator.transformer.dtype), timestep.expand(1)
                with_it = generator.transformer(seen, when, scene.text["text"], return_dict=False)[0].float()
                without = generator.transformer(seen, when, scene.negative["text"], return_dict=False)[0].float()
                velocity = without + sampling.guidance * (with_it - without)
            z = scheduler.step(velocity, timestep, z, return_dict=False)[0]
        times.append(clock.now())
        raw = generator.denormalise(z)
        video = generator.vae.decode(raw.to(generator.vae.dtype), return_dict=False)[0].float()
        frames = scene.decoder.network.fit((video.transpose(1, 2) + 1) / 2)
        size = (scene.sizes.scene, scene.sizes.scene)
        made = scene.decoder(raw, size, rgb=frames)
        assert made.gaussians is not None
        rendered = renderer_for(device)(made.gaussians, made.cameras[:, views], size).rgb.clamp(0, 1)
        total, _ = scene.rewards(Views(frames[:, views], rendered, (PROMPT,)))
        loss = generative - total.mean()
        times.append(clock.now())
    loss.backward()
    for parameter in generator.transformer.parameters():
        parameter.grad = None
    times.append(clock.now())
    measured.seconds.append(times[-1] - times[0])
    for name, start, end in zip(("generative", "rollout", "reward", "backward"), times, times[1:], strict=False):
        measured.parts.setdefault(name, []).append(end - start)
    coefficients = prediction_coefficients(generator, sampling.denoising_steps, sampling.flow_shift)
    return Rollout(z.detach(), {k: inputs[k] for k in keep}, scheduler.timesteps.float(), coefficients)


def _plain_generative(scene: Scene, random: torch.Generator) -> Tensor:
    """Flow matching on four clips in one forward pass."""
    generator = scene.generator
    chosen = torch.randint(len(scene.clips), (scene.sampling.clips_per_step,), generator=random).tolist()
    with torch.no_grad():
        video = torch.stack([scene.clips[i].frames for i in chosen]).to(scene.device)
        moments = generator.vae.encode((video.transpose(1, 2) * 2 - 1).to(generator.vae.dtype), return_dict=False)[0]
        clean = generator.normalise(moments.mode().float())
    noise = torch.randn(clean.shape, generator=random).to(scene.device)
    level = torch.rand(len(clean), generator=random).to(scene.device)
    sigma = level.view(-1, 1, 1, 1, 1)
    noisy = ((1 - sigma) * clean + sigma * noise).to(generator.transformer.dtype)
    texts = scene.text["text"].expand(len(clean), -1, -1)
    answer = generator.transformer(noisy, 1000 * level, texts, return_dict=False)[0]
    return (answer.float() - (noise - clean)).square().mean()


def plain(scene: Scene, repeats: int) -> tuple[Measured, Gradients, Rollout]:
    """A first step, whose gradients and rollout come back, and ``repeats`` timed ones."""
    measured = Measured()
    with caught(scene) as take:
        path = plain_step(scene, 0, first := Measured())
        measured.first, gradients = first.step, take()
    reset_peak(scene.device)
    for step in range(1, repeats + 1):
        plain_step(scene, step, measured)
    measured.peak = peak(scene.device)
    return measured, gradients, path


def ours(scene: Scene, repeats: int, path: Rollout | None = None) -> tuple[Measured, Gradients]:
    """The same steps by ``align``; ``path`` replaces what the rollout gives."""
    measured, gradients, times, peaks = Measured(), [], [scene.clock.now()], [0.0]
    # A rate of zero leaves the adapter as it is; the optimiser works as ever.
    loop = LoopConfig(repeats + 1, 0.0, warmup=0, weight_decay=0.0, log_every=1, checkpoint_every=10**9)
    with caught(scene) as take, _replaced_rollout(path):

        def log(step: int, scalars: Mapping[str, float]) -> None:
            times.append(scene.clock.now())
            if step == 1:
                gradients.append(take())
                reset_peak(scene.device)
                return
            measured.seconds.append(times[-1] - times[-2])
            # Where the step measures its parts itself, their peaks are in the log.
            peaks.extend(value for name, value in scalars.items() if name.startswith("gibibytes/"))
            for name, value in scalars.items():
                if name.startswith("seconds/"):
                    measured.parts.setdefault(name.removeprefix("seconds/"), []).append(value)
            times.append(scene.clock.now())

        alignment.align(
            scene.generator, scene.embed, scene.decoder, renderer_for(scene.device), scene.rewards, [PROMPT], scene.clips,
            loop, scene.sampling, seed=SEED, negative=scene.negative, log=log,
        )  # fmt: skip
    measured.first = times[1] - times[0]
    measured.peak = max(*peaks, peak(scene.device))
    return measured, gradients[0]


@contextmanager
def _replaced_rollout(path: Rollout | None) -> Iterator[None]:
    """Within, the step continues from ``path`` instead of its own rollout."""
    own = alignment.rollout
    if path is not None:
        alignment.rollout = lambda *_, **__: path
    try:
        yield
    finally:
        alignment.rollout = own


def cosine(a: Gradients, b: Gradients) -> float:
    """Of all gradients as one vector."""
    products = [torch.stack([(a[n] * b[n]).sum(), a[n].square().sum(), b[n].square().sum()]).double() for n in a]
    inner, first, second = torch.stack(products).sum(0).tolist()
    return inner / max(first * second, 1e-300) ** 0.5


WAYS: Mapping[str, Callable[[Scene], None]] = {
    "eager": lambda scene: None,
    "compiled": lambda scene: scene.generator.compile_for_training(),
    # More memory: the compiled blocks are not run again in the backward pass.
    "compiled, blocks kept": lambda scene: scene.generator.transformer.disable_gradient_checkpointing(),
}
"""Ways to run our step, each on top of those before it."""


def table(report: Mapping[str, Any]) -> str:
    """All ways side by side."""
    rows = {"plain": report["plain"], **report["ours"]}
    lines = [f"{'':24}{'s / step':>10}{'first':>10}{'GiB':>8}{'faster':>9}{'memory':>9}  parts, s"]
    for name, row in rows.items():
        if "error" in row:
            lines.append(f"{name:24}failed: {row['error']}")
            continue
        parts = ", ".join(f"{part} {value:.2f}" for part, value in row["parts"].items())
        ratios = f"{row['faster']:9.2f}{row['memory']:9.2f}" if "faster" in row else f"{'':18}"
        lines.append(f"{name:24}{row['step']:10.3f}{row['first']:10.1f}{row['peak']:8.2f}{ratios}  {parts}")
    return "\n".join(lines)


def main() -> int:
    """Build, run both, compare, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True, help="JSON with all numbers, written after every part")
    parser.add_argument("--tiny", action="store_true", help="tiny networks, on the CPU where there is no GPU")
    parser.add_argument("--repeats", type=int, default=2, help="timed steps of each way")
    parser.add_argument("--compile", action="store_true", help="compile on the CPU, too")
    parser.add_argument("--budget", type=float, default=240.0, help="seconds after which no further way is begun")
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and not arguments.tiny:
        print("no CUDA device here; --tiny rehearses on the CPU", file=sys.stderr)
        return 1
    if arguments.repeats < 1:
        print(f"--repeats {arguments.repeats}; allowed: at least 1", file=sys.stderr)
        return 1
    sizes, setting = (TINY, TINY_SETTING) if arguments.tiny else (FULL, FULL_SETTING)
    torch.set_float32_matmul_precision("high")
    clock = Clock(device)
    start = clock.now()
    scene = build(sizes, setting, clock)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    renderer_for(device)  # gsplat builds its kernels now
    report: dict[str, Any] = {
        "device": name,
        "torch": torch.__version__,
        "tiny": arguments.tiny,
        "sampling": vars(scene.sampling),
        "bars": {"faster": FASTER, "memory": LEANER, "cosine": ALIKE},
        "ours": {},
    }

    def write() -> None:
        report["seconds_in_all"] = clock.now() - start
        arguments.out.write_text(json.dumps(report, indent=1) + "\n")

    print(f"{name}, torch {torch.__version__}; networks built in {clock.now() - start:.1f} s", flush=True)
    scene.generator.transformer.enable_gradient_checkpointing()
    scene.decoder.network.gradient_checkpointing = True
    public, expected, path = plain(scene, arguments.repeats)
    report["plain"] = public.report()
    print(f"plain step {public.step:.2f} s, peak {public.peak:.2f} GiB; {clock.now() - start:.0f} s gone", flush=True)
    write()
    scene.generator.checkpoint_gradients()
    for way, prepare in WAYS.items():
        if way != "eager" and (
            (device.type == "cpu" and not arguments.compile) or clock.now() - start > arguments.budget
        ):
            print(f"{way}: left out", flush=True)
            continue
        gc.collect()
        try:
            prepare(scene)
            measured, gradients = ours(scene, arguments.repeats)
            _, on_same_path = ours(scene, 0, path)
        except Exception as error:  # one way that fails (memory, compiler) does not take the others' numbers with it
            traceback.print_exc()
            report["ours"][way] = {
                "error": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            }
        else:
            ratios = {"faster": public.step / measured.step, "memory": measured.peak / max(public.peak, 1e-9)}
            alike = {"cosine": cosine(gradients, expected), "cosine_same_rollout": cosine(on_same_path, expected)}
            report["ours"][way] = measured.report() | ratios | alike
            print(f"{way}: {measured.step:.2f} s, {measured.peak:.2f} GiB, {alike}", flush=True)
        write()
    print(table(report))
    good = [way for way, row in report["ours"].items() if passes(row, arguments.tiny)]
    report["passed"] = good
    write()
    print(f"passed: {', '.join(good)}" if good else "not passed")
    return 0 if good else 1


def passes(row: Mapping[str, Any], tiny: bool) -> bool:
    """Whether one way meets all bars; at tiny size the gradient alone is judged."""
    if "error" in row or row["cosine_same_rollout"] <= ALIKE or row["cosine"] <= ALIKE:
        return False
    return tiny or (row["faster"] >= FASTER and row["memory"] <= LEANER)


if __name__ == "__main__":
    sys.exit(main())

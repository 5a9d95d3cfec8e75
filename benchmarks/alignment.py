"""One step of reward alignment at full size: this project beside a plain version of the public step, in one run.

Random weights: Wan 2.1 1.3B (bfloat16) with an adapter of rank 8, AnySplat at its published size. 13 frames of 512 px (448 px for
the 3D network), 30 steps of UniPC with flow shift 3, guidance 5, three denoising steps with gradient (the public code's two at
random and the last), one prompt, four clips for the generative loss, two ViT-H scorers of 224 and 378 px on 14 images.

Ours is ``vist3a.alignment.align.align`` itself. What its first step draws is recorded, and the plain step repeats it, made as the
public one is: one graph over everything with detached inputs of the denoiser, one forward pass per denoising step for both
branches of guidance, eager, activations recomputed in denoiser, 3D network with its dense heads, video decoder and scorers, one
backward pass. It is timed under bfloat16 autocast, as the public code runs. The public step encodes its clips every time, ours
when a clip is first drawn: that part is measured and left out of the comparison.

Gradients of the adapter are compared with the plain step without autocast, which has the numeric types of ours, and the two plain
ones with each other, which is what rounding alone does. Of the whole gradient the reward's part may be a thousandth, so its own
cosine is printed beside it. From the same rollout it must keep to the bar, too; or its gradient at the latents must be as near to
that of the same networks in float32 as the plain one is: deep random networks make much of any rounding, and code that rounds
elsewhere comes no nearer to other code than both come to the truth.

    python benchmarks/alignment.py --out alignment.json          # CUDA, five minutes and the build of gsplat
    python benchmarks/alignment.py --budget 400 --out alignment.json   # the way that keeps the denoiser's activations, too
    python benchmarks/alignment.py --tiny --out alignment.json   # the same code on the CPU in seconds, tiny networks
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

# The plain step takes nearly all of 80 GiB, and as pieces of fixed size they are not enough.
os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")

import torch
from generate import FULL, PROMPT, TINY, Clock, Sizes, make, peak, reset_peak
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from vist3a.alignment import align as alignment
from vist3a.alignment import clip_latents
from vist3a.alignment.align import AlignData, AlignRun, AlignStep
from vist3a.alignment.align_draw import AlignDraw
from vist3a.alignment.align_settings import AlignSettings
from vist3a.alignment.decoded_views import decode_views
from vist3a.alignment.rewards.terms import weighted_terms
from vist3a.alignment.rewards.text_image import TextImageReward
from vist3a.alignment.rewards.weighted_sum import WeightedSum
from vist3a.generators.wan import WanGenerator
from vist3a.networks.blocks.dpt_head import DPTHead
from vist3a.records import Clip, Condition
from vist3a.rendering import Renderer, renderer_for
from vist3a.runtime.launch import ALONE
from vist3a.runtime.loop import LoopConfig
from vist3a.sampling.rollout import Rollout
from vist3a.scorers.clip import ClipScorer
from vist3a.scorers.clip_sizes import CLIP_SIZES, ClipSizes
from vist3a.stitching.decoder import StitchedDecoder

SEED, CLIPS = 0, 4
BARS = {"faster": 1.0, "cosine": 0.999}
"""A way must not be slower than the plain step, whatever memory it takes, and its gradient must be right."""
LUCK = 1.25
"""How much further from float32 than the plain step's the reward's gradient may be."""
SCORERS = {False: (CLIP_SIZES["pickscore-v1"], CLIP_SIZES["dfn5b-clip-h-14-378"]),
           True: tuple(ClipSizes(size, 14, 32, 2, 2, 16, 2, 2, 16, 16, 8) for size in (28, 42))}  # fmt: skip
"""Of the public code, and of the rehearsal."""
STEPS = {False: (30, 7), True: (5, 2)}
"""Denoising steps and scored views; each view is scored as a frame and as a rendering."""
ENCODING = "encoding"
"""The part of the plain step that is left out."""
Gradient = dict[str, Tensor]


@dataclass
class Scene:
    """Everything that a step works with."""

    generator: WanGenerator
    decoder: StitchedDecoder
    text: Condition
    negative: Condition
    rewards: WeightedSum
    plain_rewards: WeightedSum
    scorers: list[ClipScorer]
    clips: list[Clip]
    sampling: AlignSettings
    sizes: Sizes
    render: Renderer
    clock: Clock

    @property
    def data(self) -> AlignData:
        """One prompt, and clips without captions."""
        return AlignData([PROMPT], self.clips, lambda texts: self.text.rows(len(texts)), negative=self.negative)

    @property
    def adapter(self) -> dict[str, nn.Parameter]:
        """What is trained."""
        return {name: p for name, p in self.generator.transformer.named_parameters() if p.requires_grad}


@dataclass
class Draws:
    """What one step of ours drew, and the rollout it made."""

    noise: Tensor = field(default_factory=lambda: torch.empty(0))
    how: dict[str, Any] = field(default_factory=dict)
    path: Rollout | None = None
    views: Tensor = field(default_factory=lambda: torch.empty(0))
    frames: Tensor = field(default_factory=lambda: torch.empty(0))
    clip_noise: Tensor = field(default_factory=lambda: torch.empty(0))
    level: Tensor = field(default_factory=lambda: torch.empty(0))


@dataclass
class Measured:
    """Seconds of the timed steps and their parts, peak of device memory in GiB and those of the parts, seconds of the step before
    them.
    """

    seconds: list[float] = field(default_factory=list)
    parts: dict[str, list[float]] = field(default_factory=dict)
    peaks: dict[str, float] = field(default_factory=dict)
    peak: float = 0.0
    first: float = 0.0

    @property
    def step(self) -> float:
        """Median seconds of a step."""
        return statistics.median(self.seconds)

    def report(self) -> dict[str, Any]:
        """For the JSON file."""
        parts = {name: statistics.median(values) for name, values in self.parts.items()}
        return {
            "step": self.step, "seconds": self.seconds, "first": self.first, "parts": parts, "peak": self.peak,
            "peaks": self.peaks,
        }  # fmt: skip


class RecomputedScorer:
    """A scorer as the public code runs it: all images at once, run again for the backward pass."""

    def __init__(self, scorer: ClipScorer) -> None:
        self.scorer = scorer

    def embed_text(self, texts: Sequence[str]) -> Tensor:
        """See :class:`ClipScorer`."""
        return self.scorer.embed_text(texts)

    def score(self, images: Tensor, text: Tensor) -> Tensor:
        """See :class:`ClipScorer`."""
        embedded: Tensor = checkpoint(self.scorer.embed_images, images, use_reentrant=False)
        return (embedded * text).sum(-1).to(images.dtype)


def scorer(sizes: ClipSizes, dtype: torch.dtype, device: torch.device) -> ClipScorer:
    """A scorer with random weights, and a tokenizer of two words."""
    from tokenizers import Tokenizer, models

    words = Tokenizer(models.WordLevel({"[unknown]": 0, PROMPT: 1}, unk_token="[unknown]"))
    with torch.device(device):
        made = ClipScorer(sizes, words)
    return made.to(dtype).requires_grad_(False).eval()


def build(sizes: Sizes, tiny: bool, clock: Clock) -> Scene:
    """Networks, clips of smooth noise, rewards with the public code's weights, checkpoints in denoiser and 3D network."""
    generator, decoder, text, negative = make(sizes, clock.device)
    for name, parameter in generator.transformer.named_parameters():
        parameter.requires_grad_("lora_" in name)
    generator.transformer.enable_gradient_checkpointing()
    decoder.network.gradient_checkpointing = True
    torch.manual_seed(3)
    scorers = {f"scorer{n}": scorer(one, sizes.dtype, clock.device) for n, one in enumerate(SCORERS[tiny])}
    weights = {f"{name}_{kind}": 0.25 for name in scorers for kind in ("decoded", "rendered")}
    weights |= {"consistency_l1": 0.05}
    recomputed = {name: RecomputedScorer(one) for name, one in scorers.items()}
    rewards, plain_rewards = (weighted_terms(weights, each, None) for each in (scorers, recomputed))
    side, random = sizes.video, torch.Generator().manual_seed(4)
    coarse = torch.rand(CLIPS, 3, sizes.frames, side // 16, side // 16, generator=random)
    smooth = functional.interpolate(coarse, (sizes.frames, side, side), mode="trilinear").transpose(1, 2)
    clips = [Clip(f"noise-{number}", frames.contiguous()) for number, frames in enumerate(smooth)]
    steps, views = STEPS[tiny]
    # Two at random and the last. A rate of zero leaves the adapter as it is; the optimizer works as ever.
    sampling = AlignSettings(
        seed=SEED, prompts_per_step=1, clips_per_step=CLIPS, denoising_steps=steps, gradient_steps=2, variant="released",
        guidance=5.0, scored_views=views, generative_weight=1.0, frames=sizes.frames, height=side, width=side, flow_shift=3.0,
        loop=LoopConfig(1, 0.0, warmup=0, weight_decay=0.0, log_every=1, checkpoint_every=10**9, ema=None),
    )  # fmt: skip
    return Scene(
        generator, decoder, text, negative, rewards, plain_rewards, list(scorers.values()), clips, sampling, sizes,
        renderer_for(clock.device), clock,
    )  # fmt: skip


@contextmanager
def watched(scene: Scene) -> Iterator[Callable[..., Gradient]]:
    """Sums all gradients of the adapter within; the function takes the sum and starts anew, or ends the watch."""
    sums = {name: torch.zeros_like(p, dtype=torch.float32) for name, p in scene.adapter.items()}

    def adding(total: Tensor) -> Callable[[Tensor], None]:
        def add(gradient: Tensor) -> None:
            total.add_(gradient.float())

        return add

    hooks = [p.register_hook(adding(sums[name])) for name, p in scene.adapter.items()]

    def take(end: bool = False) -> Gradient:
        taken = {name: total.clone() for name, total in sums.items()}
        for total in sums.values():
            total.zero_()
        if end:
            for hook in hooks:
                hook.remove()
        return taken

    try:
        yield take
    finally:
        take(end=True)


@contextmanager
def replaced(owner: Any, **functions: Callable[..., Any]) -> Iterator[None]:
    """Within, these attributes of ``owner``."""
    own = {name: getattr(owner, name) for name in functions}
    for name, function in functions.items():
        setattr(owner, name, function)
    try:
        yield
    finally:
        for name, function in own.items():
            setattr(owner, name, function)


def ours(
    scene: Scene, repeats: int, draws: Draws | None = None, path: Rollout | None = None
) -> tuple[Measured, Gradient, Gradient]:
    """A first step by ``align`` and ``repeats`` timed ones; gradients of the first by the reward and by the generative loss.

    ``draws`` takes what the first step draws; ``path`` replaces what its rollout gives.
    """
    measured, found, times = Measured(), dict[str, Gradient](), [scene.clock.now()]
    generator = scene.generator
    own = {name: getattr(alignment, name) for name in ("rollout", "decode_views", "backpropagate")}
    own |= {"training_pair": generator.training_pair}
    own["latents"] = clip_latents.ClipLatents.__call__
    note: dict[str, Any] = {}

    def rollout(generator: WanGenerator, noise: Tensor, *args: Any, **how: Any) -> Rollout:
        made: Rollout = path or own["rollout"](generator, noise, *args, **how)
        if "path" not in note:
            note.update(noise=noise, how=how, path=made)
        return made

    def views(
        generator: WanGenerator, decoder: Any, render: Any, z: Tensor, prompts: Any, which: Any, *more: Any
    ) -> Any:
        note.setdefault("views", torch.as_tensor(which))
        return own["decode_views"](generator, decoder, render, z, prompts, which, *more)

    def latents(known: Any, chosen: Sequence[int], length: int, device: torch.device) -> Tensor:
        if "frames" not in note:
            note["frames"] = torch.stack([scene.clips[index].frames[:length] for index in chosen]).to(device)
        return own["latents"](known, chosen, length, device)

    def training_pair(clean: Tensor, noise: Tensor, level: Tensor) -> Any:
        note.setdefault("clip_noise", noise)
        note.setdefault("level", level)
        return own["training_pair"](clean, noise, level)

    settings = replace(scene.sampling, loop=replace(scene.sampling.loop, steps=repeats + 1))
    with watched(scene) as take:

        def backpropagate(*args: Any, **named: Any) -> None:
            own["backpropagate"](*args, **named)
            if "reward" not in found:
                found["reward"] = take()

        def log(step: int, scalars: Mapping[str, float]) -> None:
            times.append(scene.clock.now())
            if step == 1:
                found["generative"] = take(end=True)  # the watch would slow the timed steps
                reset_peak(scene.clock.device)
            else:
                measured.seconds.append(times[-1] - times[-2])
                # A step that measures its parts starts the peak anew for each, and says what it was.
                for name, value in scalars.items():
                    what, _, part = name.partition("/")
                    if what == "seconds":
                        measured.parts.setdefault(part, []).append(value)
                    elif what == "gibibytes":
                        measured.peaks[part] = max(value, measured.peaks.get(part, 0.0))
            times.append(scene.clock.now())

        with (
            replaced(alignment, rollout=rollout, decode_views=views, backpropagate=backpropagate),
            replaced(clip_latents.ClipLatents, __call__=latents),
            replaced(generator, training_pair=training_pair),
        ):
            alignment.align(
                generator, scene.decoder, scene.rewards, scene.data, settings, AlignRun(log=log), scene.render
            )
    measured.first = times[1] - times[0]
    measured.peak = max([*measured.peaks.values(), peak(scene.clock.device)])
    if draws is not None:
        for name, value in note.items():
            setattr(draws, name, value)
    return measured, found["reward"], found["generative"]


@contextmanager
def recomputed(scene: Scene) -> Iterator[None]:
    """Within, video decoder and dense heads of the 3D network are run again in the backward pass, as in the public code."""
    generator, heads = scene.generator, [m for m in scene.decoder.network.modules() if isinstance(m, DPTHead)]
    before = generator.recomputes_decoder
    generator.recomputes_decoder = True
    for head in heads:
        own = head.forward
        head.forward = lambda *args, own=own: checkpoint(own, *args, use_reentrant=False)  # type: ignore[method-assign]
    try:
        yield
    finally:
        generator.recomputes_decoder = before
        for head in heads:
            del head.forward


def plain_losses(scene: Scene, draws: Draws, mark: Callable[[str], None]) -> tuple[Tensor, Tensor, Rollout]:
    """Generative loss and minus the reward in one graph each, and the rollout."""
    generator, sampling, how = scene.generator, scene.sampling, draws.how
    with torch.no_grad():
        clean = generator.normalise(generator.encode(draws.frames))
    mark(ENCODING)
    both = Condition.cat([scene.text, scene.negative])
    pair = generator.training_pair(clean, draws.clip_noise, draws.level)
    answer = generator.prediction(pair.noisy, pair.timesteps, scene.text.rows(len(clean)))
    generative = sampling.generative_weight * (answer.float() - pair.target).square().mean()
    mark("generative")
    sampler = generator.sampler(how["steps"], draws.noise.shape[1:], scene.clock.device, how["flow_shift"])
    z, inputs = draws.noise, {}
    for k, timestep in enumerate(sampler.timesteps):
        with torch.set_grad_enabled(k in how["keep"]):
            seen, when = z.detach(), timestep.float().expand(len(z))
            answers = generator.prediction(torch.cat([seen, seen]), torch.cat([when, when]), both)
            with_it, without = answers.chunk(2)
            velocity = without + how["guidance"] * (with_it - without)
        inputs[k] = seen
        z = sampler.step(velocity, k, z)
    mark("rollout")
    scored, _ = decode_views(generator, scene.decoder, scene.render, z, [PROMPT], draws.views, scene.rewards.needs)
    total, _ = scene.plain_rewards(scored)
    mark("reward")
    kept = {k: inputs[k].to(draws.noise.dtype) for k in how["keep"]}
    table = generator.linear_table(how["steps"], draws.noise.shape[1:], how["flow_shift"])
    path = Rollout(
        z.detach().to(draws.noise.dtype), kept, sampler.timesteps.float(), table.weights[-1, 1:], sampler.lengths, table
    )
    return generative, -total.mean(), path


def plain_gradients(scene: Scene, draws: Draws, cast: bool) -> tuple[Gradient, Gradient, Rollout]:
    """By the reward and by the generative loss, taken one after the other; ``cast``: under bfloat16 autocast."""
    with watched(scene) as take, recomputed(scene):
        with torch.autocast(scene.clock.device.type, torch.bfloat16, enabled=cast):
            generative, negated, path = plain_losses(scene, draws, lambda _: None)
        generative.backward()
        by_clips = take()
        negated.backward()
        by_reward = take()
    forget(scene)
    return by_reward, by_clips, path


def plain_steps(scene: Scene, draws: Draws, repeats: int, cast: bool) -> Measured:
    """The plain step ``repeats`` times: all forward passes, one backward pass. The caller has warmed up."""
    measured, clock = Measured(), scene.clock
    gc.collect()
    reset_peak(clock.device)
    with recomputed(scene):
        _repeat_plain(scene, draws, repeats, cast, measured)
    measured.peak = peak(clock.device)
    return measured


def _repeat_plain(scene: Scene, draws: Draws, repeats: int, cast: bool, measured: Measured) -> None:
    clock = scene.clock
    for _ in range(repeats):
        times = [clock.now()]

        def mark(part: str, times: list[float] = times) -> None:
            times.append(clock.now())
            measured.parts.setdefault(part, []).append(times[-1] - times[-2])

        with torch.autocast(clock.device.type, torch.bfloat16, enabled=cast):
            generative, negated, _ = plain_losses(scene, draws, mark)
        (generative + negated).backward()
        norm = nn.utils.clip_grad_norm_(list(scene.adapter.values()), 1.0)
        float(norm)
        mark("backward")
        forget(scene)
        # Without the encoding of the clips, which ours does once.
        measured.seconds.append(times[-1] - times[1])


def forget(scene: Scene) -> None:
    """Drop what the backward pass left."""
    for parameter in scene.adapter.values():
        parameter.grad = None


def cosine(a: Gradient, b: Gradient) -> float:
    """Of all gradients as one vector each."""
    products = [torch.stack([(a[n] * b[n]).sum(), a[n].square().sum(), b[n].square().sum()]).double() for n in a]
    inner, first, second = torch.stack(products).sum(0).tolist()
    return inner / max(first * second, 1e-300) ** 0.5


def cosines(a: Sequence[Gradient], b: Sequence[Gradient]) -> dict[str, float]:
    """Of pairs (by the reward, by the generative loss): both together, and each."""
    both = [{name: one[0][name] + one[1][name] for name in one[0]} for one in (a, b)]
    return {"whole": cosine(*both), "reward": cosine(a[0], b[0]), "generative": cosine(a[1], b[1])}


def length(gradient: Gradient) -> float:
    """Euclidean norm of a gradient as one vector."""
    return float(torch.stack([part.square().sum() for part in gradient.values()]).sum().sqrt())


def plain_reward_gradient(scene: Scene, latents: Tensor, views: Tensor, cast: bool) -> Tensor:
    """Gradient of the plain reward at final latents; ``cast``: under bfloat16 autocast."""
    z = latents.detach().requires_grad_(True)
    with torch.autocast(scene.clock.device.type, torch.bfloat16, enabled=cast):
        scored, _ = decode_views(scene.generator, scene.decoder, scene.render, z, [PROMPT], views, scene.rewards.needs)
        total, _ = scene.plain_rewards(scored)
    (gradient,) = torch.autograd.grad(-total.mean(), z)
    return gradient.float()


@contextmanager
def single_precision(scene: Scene) -> Iterator[None]:
    """Within, everything behind the latents computes in float32 without TF32, with the weights that it has."""
    network, vae = scene.decoder.network, scene.generator.vae
    flags = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    for part in (network, vae, *scene.scorers):
        part.float()
    try:
        yield
    finally:
        for part in (vae, *scene.scorers):
            part.to(scene.sizes.dtype)
        network.mixed_precision(scene.sizes.dtype)
        torch.backends.cudnn.allow_tf32 = flags[0]
        torch.set_float32_matmul_precision(flags[1])


def angle(a: Tensor, b: Tensor) -> float:
    """Between two gradients, in radians."""
    units = [part.double().flatten() / part.double().norm() for part in (a, b)]
    # Of small angles the cosine would keep few digits.
    return 2 * float(torch.asin(((units[0] - units[1]).norm() / 2).clamp(max=1)))


@dataclass
class Truth:
    """Gradient of the reward at the latents of the plain rollout in float32, and the angle of the plain step's to it."""

    gradient: Tensor
    plain: float
    latents: Tensor
    views: Tensor

    def of(self, scene: Scene) -> float:
        """The angle of ours to it, as the scene now runs."""
        step = AlignStep(scene.generator, scene.decoder, scene.rewards, scene.data, scene.sampling, ALONE, scene.render)
        drawn = AlignDraw(0, 1.0, [], self.views.tolist(), self.views.tolist())
        gradient, _, _ = step.reward_gradient(self.latents, [PROMPT], drawn, by_term=False)
        return angle(gradient, self.gradient)


def single_precision_gradient(scene: Scene, report: Report, path: Rollout, views: Tensor, cast: bool) -> Truth:
    """See :class:`Truth`."""
    with single_precision(scene):
        gradient = plain_reward_gradient(scene, path.latents, views, cast=False)
    plain = angle(plain_reward_gradient(scene, path.latents, views, cast=False), gradient)
    found = {"plain": plain}
    if cast:
        found["plain under autocast"] = angle(plain_reward_gradient(scene, path.latents, views, cast), gradient)
    report.say(
        f"reward's gradient at the latents, angle to float32: {', '.join(f'{k} {v:.4f}' for k, v in found.items())} rad",
        angles=found,
    )
    return Truth(gradient, plain, path.latents, views)


def recompute_decoder(scene: Scene) -> None:
    """Checkpoints in the video decoder, too."""
    scene.generator.checkpoint_gradients()


def in_parts(scene: Scene, at_once: int | None = 1) -> None:
    """``align.frames_apart: true``, ``views_at_once: 1`` and ``clips_at_once: 1``; None: everything at once."""
    scene.sampling = replace(
        scene.sampling, frames_apart=at_once is not None, views_at_once=at_once, clips_at_once=at_once
    )
    scene.rewards = replace_terms(scene.rewards, at_once)


def replace_terms(rewards: WeightedSum, at_once: int | None) -> WeightedSum:
    """The same terms; a graph of those that score images holds so many of them."""
    terms = {
        name: TextImageReward(term.scorer, term.on, at_once) if isinstance(term, TextImageReward) else term
        for name, term in rewards.terms.items()
    }
    return WeightedSum(terms, rewards.weights)


def compile_blocks(scene: Scene) -> None:
    """Compiled blocks everywhere, convolutions of the autoencoder laid out for tensor cores; all at once again."""
    import torch._dynamo

    in_parts(scene, None)

    # Rollout, reward and clips differ in text, batch and graph: each gets code of its own shape.
    torch._dynamo.config.recompile_limit = 32
    scene.generator.compile_for_training()
    scene.decoder.network.compile_blocks(dynamic=False)
    for one in scene.scorers:
        one.compile_blocks()


def keep_denoiser(scene: Scene) -> None:
    """``align.gradient_checkpointing: decoders`` and ``align.gradient_batch: 3``."""
    scene.generator.transformer.disable_gradient_checkpointing()
    scene.sampling = replace(scene.sampling, gradient_batch=3)


WAYS: Mapping[str, Callable[[Scene], Any]] = {
    "eager": recompute_decoder,
    # Less memory: the video decoder apart and four frames at a time, one view and one clip at a time.
    "in-parts": in_parts,
    "compiled": compile_blocks,
    # More memory: the denoiser's blocks are not run again in the backward pass, and all its steps are taken together.
    "compiled-kept": keep_denoiser,
}
"""Ways to run our step, each on top of those before it."""


class Report:
    """What was found so far: every figure is printed and written when it is known."""

    def __init__(self, path: Path, clock: Clock, about: Mapping[str, Any]) -> None:
        self.path, self.clock, self.start = path, clock, clock.now()
        self.found: dict[str, Any] = {**about, "bars": BARS, "ours": {}}

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return self.clock.now() - self.start

    def say(self, line: str, **found: Any) -> None:
        """Print the line and write ``found`` beside what is there."""
        self.found |= found
        self.found["seconds_in_all"] = self.seconds
        self.path.write_text(json.dumps(self.found, indent=1, default=str) + "\n")
        print(f"[{self.seconds:4.0f} s] {line}", flush=True)


def shown(values: Mapping[str, float]) -> str:
    """Cosines as text; those near 1 differ in the last digits."""
    return ", ".join(f"{name} {value:.6f}" for name, value in values.items())


def compare_gradients(scene: Scene, report: Report, cast: bool) -> tuple[Draws, list[Gradient], Rollout]:
    """Our eager step against the plain ones.

    The draws of all, and of the plain step in our numeric types the gradients (by reward, by clips) and the rollout.
    """
    draws = Draws()
    first, *own = ours(scene, 0, draws)
    forget(scene)
    report.say(
        f"ours, eager, first step {first.first:.2f} s; gradient steps {draws.how['keep']}", keep=draws.how["keep"]
    )
    by_reward, by_clips, path = plain_gradients(scene, draws, cast=False)
    plain = [by_reward, by_clips]
    lengths = {"reward": length(by_reward), "generative": length(by_clips)}
    report.say(
        f"plain gradients: by the reward {lengths['reward']:.3g}, by the clips {lengths['generative']:.3g}",
        lengths=lengths,
    )
    found = {"ours to plain": cosines(own, plain)}
    report.say(f"cosine, ours to plain: {shown(found['ours to plain'])}", cosines=found)
    if cast:
        autocast = plain_gradients(scene, draws, cast=True)[:2]
        found["plain to plain under autocast"] = cosines(plain, autocast)
        found["ours to plain under autocast"] = cosines(own, autocast)
        report.say(f"cosine, plain to plain under autocast: {shown(found['plain to plain under autocast'])}")
        report.say(f"cosine, ours to plain under autocast: {shown(found['ours to plain under autocast'])}")
    return draws, plain, path


def run_way(
    scene: Scene,
    report: Report,
    way: str,
    repeats: int,
    plain: Measured,
    expected: Sequence[Gradient],
    path: Rollout,
    truth: Truth,
) -> None:
    """Our step in one way beside the plain step with gradients ``expected`` and rollout ``path``, or the error that ended it."""
    gc.collect()
    try:
        WAYS[way](scene)
        measured, *own = ours(scene, repeats)
        same = cosines(ours(scene, 0, path=path)[1:], expected)
        away = truth.of(scene)
    except Exception as error:  # memory or compiler: the other ways have figures of their own
        traceback.print_exc()
        report.found["ours"][way] = {"error": f"{type(error).__name__}: {str(error)[:300]}"}
        report.say(f"{way}: failed, {type(error).__name__}")
        return
    alike = cosines(own, expected)
    ratios = {"faster": plain.step / measured.step, "memory": measured.peak / max(plain.peak, 1e-9)}
    met = {
        "faster": ratios["faster"] >= BARS["faster"],
        "cosine": alike["whole"] > BARS["cosine"] and (same["reward"] > BARS["cosine"] or away <= LUCK * truth.plain),
    }
    report.found["ours"][way] = (
        measured.report()
        | ratios
        | {"cosines": alike, "cosines_same_rollout": same, "angle_to_float32": away, "met": met}
    )
    parts = ", ".join(
        f"{part} {value:.2f} s {measured.peaks.get(part, 0):.1f} GiB"
        for part, value in measured.report()["parts"].items()
    )
    report.say(
        f"{way}: {measured.step:.3f} s, {ratios['faster']:.2f} times faster (bar {BARS['faster']}); {measured.peak:.2f} GiB, "
        f"{ratios['memory']:.2f} of the plain step's; cosine {shown(alike)}, from the plain rollout "
        f"{shown(same)} (bar {BARS['cosine']}), angle to float32 {away:.4f} (plain {truth.plain:.4f}); "
        f"first step {measured.first:.1f} s; {parts or 'parts not measured'}"
    )


def main() -> int:
    """Build, compare gradients, time the plain step, time ours in every way; 0 when one way meets all bars."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True, help="JSON with all numbers, written after every part")
    parser.add_argument("--tiny", action="store_true", help="tiny networks, on the CPU where there is no GPU")
    parser.add_argument("--half", action="store_true", help="tiny networks in bfloat16, too")
    parser.add_argument("--repeats", type=int, default=2, help="timed steps of each way")
    parser.add_argument("--ways", nargs="+", choices=WAYS, help="of ours (default: all on CUDA, eager on the CPU)")
    parser.add_argument("--budget", type=float, default=220.0, help="seconds after which no further way is begun")
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and not arguments.tiny:
        print("no CUDA device here; --tiny rehearses on the CPU", file=sys.stderr)
        return 1
    if arguments.repeats < 1:
        print(f"--repeats {arguments.repeats}; allowed: at least 1", file=sys.stderr)
        return 1
    torch.set_float32_matmul_precision("high")
    sizes, clock = TINY if arguments.tiny else FULL, Clock(device)
    if arguments.half:
        sizes = replace(sizes, dtype=torch.bfloat16)
    cast = sizes.dtype == torch.bfloat16
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    report = Report(arguments.out, clock, {"device": name, "torch": torch.__version__, "tiny": arguments.tiny})
    scene = build(sizes, arguments.tiny, clock)
    report.say(f"{name}, torch {torch.__version__}: networks built", sampling=asdict(scene.sampling))
    draws, expected, path = compare_gradients(scene, report, cast)
    plain = plain_steps(scene, draws, arguments.repeats, cast)
    parts = ", ".join(f"{part} {value:.2f}" for part, value in plain.report()["parts"].items())
    report.say(
        f"plain step, made as the public one, {plain.step:.3f} s without the encoding of clips, {plain.peak:.2f} GiB; {parts}",
        plain=plain.report(),
    )
    truth = single_precision_gradient(scene, report, path, draws.views, cast)
    chosen = arguments.ways or (list(WAYS) if device.type == "cuda" else ["eager"])
    for way, prepare in WAYS.items():
        if way not in chosen:
            prepare(scene)
        elif report.seconds > arguments.budget:
            report.say(f"{way}: left out, {arguments.budget:.0f} s are over")
        else:
            run_way(scene, report, way, arguments.repeats, plain, expected, path, truth)
        if way == [name for name in WAYS if name in chosen][-1]:
            break
    met = {way: one["met"] for way, one in report.found["ours"].items() if "met" in one}
    # At tiny size only the gradient is judged.
    passed = [way for way, one in met.items() if all(one.values()) or (arguments.tiny and one["cosine"])]
    report.say(f"passed: {', '.join(passed)}" if passed else f"not passed: {met}", passed=passed)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())

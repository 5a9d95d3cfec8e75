"""The single checks of :func:`vist3a.testing.generators.check_generator`; the first line of each says what has to hold."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from vist3a.records import Condition
from vist3a.testing.comparing import close, differ, must, refusal
from vist3a.testing.generators import GeneratorCase
from vist3a.testing.sampler_checks import sampling, shift, table, training


def frame_rule(case: GeneratorCase) -> None:
    """allowed_frames gives the nearest allowed number, and latent_grid takes just the allowed ones."""
    generator, (height, width) = case.generator, case.height_width
    without_parts = type(generator).from_pretrained("", parts=())
    for frames in range(1, 50):
        nearest = generator.allowed_frames(frames)
        must(nearest >= 1, f"allowed_frames({frames}) is {nearest}; at least 1 is wanted")
        again = generator.allowed_frames(nearest)
        must(again == nearest, f"allowed_frames({frames}) is {nearest}, which allowed_frames replaces by {again}")
        bare = without_parts.allowed_frames(frames)
        must(
            bare == nearest,
            f"allowed_frames({frames}) is {nearest} with the networks and {bare} without; one is wanted",
        )
        taken = refusal(lambda frames=frames: generator.latent_grid(frames, height, width)) is None  # type: ignore[misc]
        must(
            taken == (nearest == frames),
            f"allowed_frames({frames}) is {nearest}, but latent_grid takes {frames}: {taken}",
        )
        if taken:
            stands_for = (generator.latent_grid(frames, height, width)[1] - 1) * generator.temporal_stride + 1
            must(
                stands_for == frames,
                f"{frames} frames have latents that stand for {stands_for}: the first frame is encoded alone, then "
                f"temporal_stride ({generator.temporal_stride}) at a time",
            )
    multiple = generator.spatial_multiple
    if multiple > 1:
        off = refusal(lambda: generator.latent_grid(case.frames, height, width + multiple // 2))
        must(
            off is not None,
            f"latent_grid takes a width of {width + multiple // 2}; multiples of {multiple} are allowed",
        )


def shapes(case: GeneratorCase) -> None:
    """Clips of every allowed number of frames come back with their frames, in [0, 1]."""
    generator = case.generator
    for frames in case.frame_counts(4):
        clip = case.clip(frames, 2)
        latents = generator.encode(clip)
        wanted = (2, *case.shape(frames))
        must(
            tuple(latents.shape) == wanted,
            f"encode gives {tuple(latents.shape)} of {frames} frames; latent_grid says {wanted}",
        )
        decoded = generator.decode(latents)
        must(decoded.shape == clip.shape, f"decode gives {tuple(decoded.shape)}; {tuple(clip.shape)} was encoded")
        low, high = float(decoded.min()), float(decoded.max())
        must(0 <= low <= high <= 1, f"decoded frames are in [{low:g}, {high:g}]; RGB in [0, 1] is wanted")
    refused = next(frames for frames in range(2, 4096) if generator.allowed_frames(frames) != frames or frames == 4095)
    if refused != 4095:
        must(refusal(lambda: generator.encode(case.clip(refused))) is not None, f"encode takes {refused} frames")


def encoding(case: GeneratorCase) -> None:
    """Encode gives the raw latents of the public autoencoder: its mode, or a sample that follows its random generator."""
    generator, clip = case.generator, case.clip(case.frames, 2)
    latents = generator.encode(clip)
    close(
        latents,
        case.encoder(generator, clip.transpose(1, 2) * 2 - 1),
        case.tolerance,
        "encode differs from the public autoencoder",
    )
    close(generator.encode(clip[1:]), latents[1:], 1e-4, "a clip is encoded differently in a batch")
    one, same = (generator.encode(clip, torch.Generator().manual_seed(1)) for _ in range(2))
    must(torch.equal(one, same), "a sample of the posterior does not follow its random generator")
    must(not torch.equal(one, latents), "a sample of the posterior is its mode")
    resizing = case.fresh()
    resizing.input_size = case.height_width
    larger = torch.nn.functional.interpolate(clip[0], scale_factor=2, mode="nearest")[None]
    smaller = torch.nn.functional.interpolate(larger[0], case.height_width, mode="bilinear", antialias=True)[None]
    must(torch.equal(resizing.encode(larger), generator.encode(smaller)), "encode does not resize frames to input_size")


def normalisation(case: GeneratorCase) -> None:
    """Denormalise is the inverse of normalise, sample by sample."""
    generator, latents = case.generator, case.noise(2)
    normalised = generator.normalise(latents)
    close(generator.denormalise(normalised), latents, 1e-5, "denormalise does not undo normalise")
    close(generator.normalise(latents[1:]), normalised[1:], 1e-6, "a sample is normalised differently in a batch")


def decoding(case: GeneratorCase) -> None:
    """Frames are those of the public pipeline: denormalised once, in their order, in [0, 1]."""
    if case.published is None:
        return
    request = case.request(case.guidance, case.frames)
    with torch.no_grad():
        latents = case.published(case.generator, request)
        expected = case.published(case.generator, replace(request, output="pt"))
        ours = case.generator.decode(case.generator.denormalise(latents))
    must(float(expected.std()) > 1e-4, "the public pipeline's frames are of one color: nothing is compared")
    close(
        ours,
        expected.to(ours.dtype),
        max(1e-4, case.tolerance),
        "decode(denormalise(latents)) differs from the public frames",
    )


def independence(case: GeneratorCase) -> None:
    """A sample does not depend on its batch, its place in it, or on random numbers that nobody gave."""
    noise, condition = case.noise(2), case.condition((0, 1))
    both = case.sample(noise, condition, (0, 1))
    for rows in ([1, 0], [0], [1]):
        chosen = Condition({name: tensor[rows] for name, tensor in condition.tensors.items()})
        torch.manual_seed(len(rows) + rows[0])
        ours = case.sample(noise[rows], chosen, rows)
        close(ours, both[rows], 1e-4, f"the samples {rows} differ from what they are in a batch of two")
        _same(case.condition(rows), chosen, "a condition depends on its batch")
    other = case.sample(noise.flip(0), condition, (0, 1))
    must(not torch.allclose(other, both, atol=1e-4), "another starting noise gives the same latents")


@torch.no_grad()
def conditions(case: GeneratorCase) -> None:
    """Every tensor of the condition changes the prediction, and so do the time, guidance, and the negative text."""
    generator, noise, condition = case.generator, case.noise(), case.condition()
    shape = tuple(noise.shape[1:])
    late, early = generator.sampler(case.steps, shape).timesteps[[0, -1]].float()
    answer = generator.prediction(noise, early.view(1), condition)
    differ(answer, generator.prediction(noise, late.view(1), condition), "the prediction does not depend on the time")
    differ(
        answer,
        generator.prediction(noise * 0.5, early.view(1), condition),
        "the prediction does not depend on the latents",
    )
    for name, tensor in condition.tensors.items():
        changed = tensor + torch.randn_like(tensor) if tensor.is_floating_point() else 1 - tensor.long()
        told = Condition({**condition.tensors, name: changed.to(tensor.dtype)})
        differ(answer, generator.prediction(noise, early.view(1), told), f"{name} of the condition changes nothing")
    what = "text" if generator.takes_text else "picture"
    differ(answer, generator.prediction(noise, early.view(1), case.condition((1,))), f"the {what} changes nothing")
    guided = generator.guided(noise, early, condition, case.negative(), case.guidance)
    differ(guided, generator.guided(noise, early, condition, case.negative(), 1.0), "guidance changes nothing")
    if generator.uses_negative:
        negative = case.negative(case.prompts[1])
        against = generator.guided(noise, early, condition, negative, case.guidance)
        differ(guided, against, "the negative text changes nothing under guidance")
        refused = refusal(lambda: generator.guided(noise, early, condition, None, case.guidance))
        must(
            refused is not None, "guidance without a negative condition is taken; uses_negative says that it needs one"
        )
    other = generator.embed_images if generator.takes_text else generator.embed
    given = (case.pictures(1), case.height_width, case.generators([0])) if generator.takes_text else (["a"],)
    must(
        refusal(lambda: other(*given)) is not None,
        f"takes_text is {generator.takes_text}, but {other.__name__} answers",
    )


def gradients(case: GeneratorCase) -> None:
    """Gradients flow through the prediction to latents and weights, and through the video decoder exactly."""
    generator = case.fresh()
    generator.denoiser.requires_grad_(True)
    noisy = case.noise().requires_grad_(True)
    timestep = generator.sampler(case.steps, noisy.shape[1:]).timesteps[-1:].float()
    generator.prediction(noisy, timestep, case.condition()).square().sum().backward()
    # A parameter may be unused here, and then has no gradient; of those that are used each counts.
    weights = {name: p.grad for name, p in generator.denoiser.named_parameters() if p.grad is not None}
    must(bool(weights), "no finite gradient reaches the denoiser's weights through prediction")
    reached = {"the latents": noisy.grad} | {f"the denoiser's {name}": gradient for name, gradient in weights.items()}
    for what, gradient in reached.items():
        must(
            gradient is not None and bool(gradient.isfinite().all()),
            f"no finite gradient reaches {what} through prediction",
        )
    must(any(bool(gradient.ne(0).any()) for gradient in weights.values()), "the denoiser's gradients are all zero")
    exact = case.fresh().double()
    shape = exact.latent_grid(case.frame_counts(1)[0], exact.spatial_multiple, exact.spatial_multiple)
    latents = 0.1 * torch.randn(1, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.autograd.gradcheck(exact.decode, latents.requires_grad_(True), fast_mode=True, atol=1e-4)
    frames = exact.decode(latents)
    at_frames = torch.randn(frames.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    (expected,) = torch.autograd.grad(frames, latents, at_frames)
    close(
        exact.decode_gradient(latents.detach(), at_frames), expected, 1e-8,
        "decode_gradient is not the gradient through decode",
    )  # fmt: skip


def folders(case: GeneratorCase) -> None:
    """Parts that were saved in the hub's layout load to the same generator, and missing ones are named."""
    generator, clip = case.generator, case.clip(case.frame_counts(1)[0])
    latents = generator.encode(clip)
    if case.saves:
        with tempfile.TemporaryDirectory() as folder:
            for name in dict.fromkeys(name for names in generator.ATTRIBUTES.values() for name in names):
                getattr(generator, name).save_pretrained(Path(folder) / name)
            loaded = type(generator).from_pretrained(folder, max_text_tokens=generator.max_text_tokens or None)
        must(not any(p.requires_grad for p in loaded.parameters()), "a loaded generator is not frozen")
        close(loaded.encode(clip), latents, 1e-6, "a loaded generator encodes differently")
        close(loaded.decode(latents), generator.decode(latents), 1e-5, "a loaded generator decodes differently")
        again = GeneratorCase(lambda: loaded, size=case.height_width, prompts=case.prompts, seed=case.seed)
        _same(again.condition(), case.condition(), "a loaded generator makes other conditions")
        noise, time = case.noise(), torch.full((1,), 500.0)
        theirs, ours = (g.prediction(noise, time, case.condition()) for g in (loaded, generator))
        close(theirs, ours, 1e-5, "a loaded generator predicts differently")
    bare = case.fresh()
    bare.release("text", "denoiser")
    try:
        _ = bare.denoiser
    except RuntimeError:
        bare.encode(clip)
        return
    raise AssertionError("a denoiser that was released is still there")


CHECKS: tuple[Callable[[GeneratorCase], None], ...] = (
    frame_rule,
    shapes,
    encoding,
    normalisation,
    conditions,
    independence,
    shift,
    table,
    training,
    gradients,
    sampling,
    decoding,
    folders,
)
"""All of them, the cheap ones first."""


def _same(one: Condition, other: Condition, sentence: str) -> None:
    for name in {*one.tensors, *other.tensors}:
        close(one[name].double(), other[name].double(), 1e-5, f"{sentence} ({name})")

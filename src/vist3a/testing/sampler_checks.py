"""The checks of :func:`vist3a.testing.generators.check_generator` about the way from noise to latents: steps, shift, training."""

from __future__ import annotations

import torch
from torch import Tensor

from vist3a.generators.sampler import SHIFT_KEYS
from vist3a.sampling.rollout import prediction_coefficients
from vist3a.testing.comparing import close, must, refusal
from vist3a.testing.generators import GeneratorCase


def sampling(case: GeneratorCase) -> None:
    """Denoising is that of the public pipeline, with and without guidance and at another length."""
    if case.published is None:
        return
    longer = case.frame_counts(5)[-1]
    for guidance, frames in ((1.0, case.frames), (case.guidance, case.frames), (case.guidance, longer)):
        request = case.request(guidance, frames)
        with torch.no_grad():
            expected = case.published(case.generator, request)
        ours = case.sample(request.noise, request.condition, guidance=guidance)
        where = f"guidance {guidance:g} and {frames} frames"
        must(float(expected.std()) > 1e-3, f"the public pipeline's latents are constant ({where}): nothing is compared")
        close(ours, expected, case.tolerance, f"the latents at {where} differ from the public pipeline's")


def table(case: GeneratorCase) -> None:
    """The linear table is the sampler's own steps, at every shape of the latents."""
    generator, steps = case.generator, case.steps
    for frames in (case.frames, case.frame_counts(5)[-1]):
        shape = case.shape(frames)
        found, sampler = generator.linear_table(steps, shape), generator.sampler(steps, shape)
        must(generator.linear_table(steps, shape) is found, "the table is made again for the same setting")
        must(len(generator.linear_table(steps + 1, shape).scales) == steps + 1, "the table is that of other steps")
        noise = case.noise(1, frames).double()
        predictions = [
            torch.randn(noise.shape, generator=torch.Generator().manual_seed(k)).double() for k in range(steps)
        ]
        coefficients = prediction_coefficients(generator, steps, shape)
        if not found.deterministic:
            _nudges(case, shape, coefficients)
            continue
        z = sampler.start(noise)
        for k in range(steps):
            close(sampler.model_input(z, k), z * found.scales[k], 1e-5, f"the scale of step {k} is not the scheduler's")
            z = sampler.step(predictions[k], k, z).double()
            terms = torch.stack([noise, *predictions[: k + 1]])
            weights = found.weights[k, : k + 2]
            expected = torch.einsum("t,t...->...", weights, terms)
            # What rounds are the terms, which may cancel.
            reach = float(torch.einsum("t,t...->...", weights.abs(), terms.abs()).max() / z.abs().max())
            close(
                expected, z, 1e-5 * reach, f"the table's state after step {k} of {frames} frames is not the scheduler's"
            )
        must(torch.equal(coefficients, found.weights[-1, 1:]), "the coefficients are not the table's last row")


def shift(case: GeneratorCase) -> None:
    """A shift that the scheduler wants by the number of tokens follows it, and flow_shift replaces any shift."""
    generator = case.generator
    config, shape = generator._part("scheduler").config, case.shape(case.frames)
    if config.get("use_dynamic_shifting"):
        larger = (shape[0], shape[1], 4 * shape[2], 4 * shape[3])
        small, large = (generator.sampler(case.steps, s).timesteps for s in (shape, larger))
        must(
            not torch.equal(small, large),
            "the scheduler shifts by the number of tokens, but the timesteps do not follow it",
        )
    if any(key in config for key in SHIFT_KEYS):
        two, five = (generator.sampler(case.steps, shape, flow_shift=value).timesteps for value in (2.0, 5.0))
        must(not torch.equal(two, five), "flow_shift 2 and 5 give the same timesteps")
    else:
        must(
            refusal(lambda: generator.sampler(case.steps, shape, flow_shift=5.0)) is not None,
            "flow_shift is not refused",
        )


def training(case: GeneratorCase) -> None:
    """A denoiser that answers what training_pair wants leads the sampler from noise to the clean latents."""
    generator, (clean, noise) = case.generator, case.noise(2).double().split(1)
    sampler = generator.sampler(case.steps, clean.shape[1:])
    if not generator.takes_text or sampler.stochastic:  # nothing to align, or noise of its own
        return
    count = generator._part("scheduler").config.get("num_train_timesteps", 1000)
    # A little higher, as levels may be rounded down to whole timesteps.
    levels = (sampler.timesteps.double() + 0.01) / count
    z = generator.training_pair(clean, noise, levels[:1]).noisy
    for k in range(case.steps):
        pair = generator.training_pair(clean, noise, levels[k : k + 1])
        told = float(pair.timesteps)
        must(
            abs(told - float(sampler.timesteps[k])) < 1,
            f"training_pair says timestep {told:g}; the sampler's is {sampler.timesteps[k]:g}",
        )
        sampler.model_input(z, k)
        z = sampler.step(pair.target, k, z).double()
    close(z, clean, 5e-3, "what training_pair wants as the answer does not lead to the clean latents")


def _nudges(case: GeneratorCase, shape: tuple[int, ...], coefficients: Tensor) -> None:
    """Of a sampler with noise of its own: moving one step's prediction moves the result by its coefficient."""

    def result(nudged: int | None) -> float:
        sampler = case.generator.sampler(case.steps, shape)
        z = sampler.start(torch.ones(1, 1, 1, 1, 1, dtype=torch.float64))
        drawn = case.generators([0])
        for k in range(case.steps):
            sampler.model_input(z, k)
            z = sampler.step(torch.full_like(z, k + (1.0 if k == nudged else 0.0)), k, z, drawn).double()
        return float(z)

    base, scale = result(None), float(coefficients.abs().max())
    for k in range(case.steps):
        off = abs(result(k) - base - float(coefficients[k]))
        must(off <= 1e-3 * scale, f"the coefficient of step {k} is off by {off:g}")

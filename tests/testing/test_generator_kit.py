"""The kit passes a right generator and says in a sentence what a broken one does not keep."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from toy_generator import ToyGenerator, make, published

from vist3a.generators.base import TrainingPair
from vist3a.generators.linear_sampler import linear_table
from vist3a.generators.sampler import Sampler
from vist3a.records import Condition
from vist3a.testing.generators import check_generator


def check(kind: type[ToyGenerator]) -> None:
    check_generator(lambda: make(kind), published, saves=False)


def test_a_right_generator_passes() -> None:
    state = torch.random.get_rng_state()
    check(ToyGenerator)
    assert torch.equal(torch.random.get_rng_state(), state)


class TextIgnored(ToyGenerator):
    def prediction(self, noisy: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:
        blank = Condition({**condition.tensors, "text": torch.zeros_like(condition["text"])})
        return super().prediction(noisy, timesteps, blank)


class StyleIgnored(ToyGenerator):
    def prediction(self, noisy: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:
        blank = Condition({**condition.tensors, "style": torch.ones_like(condition["style"])})
        return super().prediction(noisy, timesteps, blank)


class TimeIgnored(ToyGenerator):
    def prediction(self, noisy: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:
        return super().prediction(noisy, torch.full_like(timesteps, 500.0), condition)


class NegativeIgnored(ToyGenerator):
    def _compared(self, condition: Condition, negative: Any, guidance: float, batch: int) -> Condition:
        if guidance != 1 and negative is not None:
            negative = Condition({name: torch.zeros_like(t[:1]) for name, t in condition.tensors.items()})
        return super()._compared(condition, negative, guidance, batch)


class GuidanceIgnored(ToyGenerator):
    def _guidance_weight(self, guidance: float, noisy: Tensor) -> float:
        return 1.0


class EncodedTwiceNormalised(ToyGenerator):
    def _encode_video(self, video: Tensor, generator: torch.Generator | None) -> Tensor:
        return self.normalise(super()._encode_video(video, generator))


class DecodedTwiceDenormalised(ToyGenerator):
    def _decode_video(self, latents: Tensor) -> Tensor:
        return super()._decode_video(self.denormalise(latents))


class DecodedAtAnotherScale(ToyGenerator):
    def decode(self, latents: Tensor) -> Tensor:
        return (super().decode(latents) * 0.5).clamp(0, 1)


class DecodedBelowZero(ToyGenerator):
    def decode(self, latents: Tensor) -> Tensor:
        return super().decode(latents) * 2 - 1


class FramesSwapped(ToyGenerator):
    def _decode_video(self, latents: Tensor) -> Tensor:
        return super()._decode_video(latents).flip(2)


class EncodedBackwards(ToyGenerator):
    def _encode_video(self, video: Tensor, generator: torch.Generator | None) -> Tensor:
        return super()._encode_video(video.flip(2), generator)


class NotUndone(ToyGenerator):
    def denormalise(self, latents: Tensor) -> Tensor:
        return latents / 0.61


class OneNoiseForAll(ToyGenerator):
    def sampler(self, *given: Any, **settings: Any) -> Sampler:
        sampler = super().sampler(*given, **settings)
        start = sampler.start
        sampler.start = lambda noise: start(noise[:1].expand_as(noise)) if noise.numel() > 99 else start(noise)  # type: ignore[method-assign]
        return sampler

    @contextmanager
    def denoising(self, condition: Condition, negative: Any, guidance: float, batch: int) -> Any:
        with super().denoising(condition, negative, guidance, batch) as predict:
            yield lambda noisy, time: predict(noisy[:1].expand_as(noisy), time)


class NoiseOfNobody(ToyGenerator):
    def prediction(self, noisy: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:
        return super().prediction(noisy + 0.1 * torch.randn_like(noisy), timesteps, condition)


class BatchDependent(ToyGenerator):
    def prediction(self, noisy: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:
        return super().prediction(noisy - noisy.mean(0, keepdim=True) + noisy.mean(), timesteps, condition)


class TextOfTheBatch(ToyGenerator):
    def embed(self, prompts: Sequence[str]) -> Condition:
        made = super().embed(prompts)
        return Condition({**made.tensors, "text": made["text"] - made["text"].mean(0)}) if len(prompts) > 1 else made


class ShapeNotTold(ToyGenerator):
    def sampler(self, steps: int, shape: Any, *given: Any, **settings: Any) -> Sampler:
        return super().sampler(steps, (4, 1, 2, 2), *given, **settings)


class ShiftOfAnotherLength(ToyGenerator):
    def sequence_length(self, shape: Any) -> int:
        return super().sequence_length(shape) // 2


class ShiftNotReplaced(ToyGenerator):
    def sampler(self, steps: int, shape: Any, device: Any = "cpu", flow_shift: float | None = None) -> Sampler:
        return super().sampler(steps, shape, device)


class TableOfAnotherShape(ToyGenerator):
    def linear_table(self, steps: int, shape: Any, flow_shift: float | None = None) -> Any:
        key = (steps, (), flow_shift, "")
        if key not in self._tables:
            self._tables[key] = linear_table(lambda: self.sampler(steps, shape, flow_shift=flow_shift))
        return self._tables[key]


class FrameRuleIgnored(ToyGenerator):
    def latent_grid(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        return super().latent_grid(self.allowed_frames(frames), height, width)


class FrameRuleOfAnother(ToyGenerator):
    def allowed_frames(self, frames: int) -> int:
        return max(1, frames - (frames - 1) % 4)


class FramesWithoutTheFirst(ToyGenerator):
    def allowed_frames(self, frames: int) -> int:
        return max(3, frames // 3 * 3)


class SizesIgnored(ToyGenerator):
    def latent_grid(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        return super().latent_grid(frames, height // 2 * 2, width // 2 * 2)


class InputSizeIgnored(ToyGenerator):
    def fit(self, frames: Tensor) -> Tensor:
        return frames


class SampledFromNobody(ToyGenerator):
    def _encode_video(self, video: Tensor, generator: torch.Generator | None) -> Tensor:
        latents = super()._encode_video(video, None)
        return latents if generator is None else latents + torch.randn_like(latents)


class AnswersBackwards(ToyGenerator):
    def prediction(self, noisy: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:
        return -super().prediction(noisy, timesteps, condition)


class TrainedBackwards(ToyGenerator):
    def training_pair(self, clean: Tensor, noise: Tensor, level: Tensor) -> TrainingPair:
        pair = super().training_pair(clean, noise, level)
        return TrainingPair(pair.noisy, pair.timesteps, -pair.target)


class TrainedAtOtherTimes(ToyGenerator):
    def training_pair(self, clean: Tensor, noise: Tensor, level: Tensor) -> TrainingPair:
        pair = super().training_pair(clean, noise, level)
        return TrainingPair(pair.noisy, level, pair.target)


class NoGradient(ToyGenerator):
    def prediction(self, noisy: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:
        with torch.no_grad():
            return super().prediction(noisy, timesteps, condition)


class OneLayersGradientIsNan(ToyGenerator):
    """The root of nothing, as of a norm at zero: its value is right, its slope is not; only the first layer sees it."""

    def prediction(self, noisy: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:
        weight = self.denoiser.mix.weight
        return super().prediction(noisy, timesteps, condition) + (weight - weight).square().sum().sqrt()


class NoGradientThroughFrames(ToyGenerator):
    def _decode_video(self, latents: Tensor) -> Tensor:
        return super()._decode_video(latents.detach()) + 0 * latents.sum()


class SecondPassByHalf(ToyGenerator):
    def decode_gradient(self, latents: Tensor, at_frames: Tensor) -> Tensor:
        return super().decode_gradient(latents, at_frames) / 2


class SaysItTakesNoText(ToyGenerator):
    takes_text = False
    uses_negative = False


BROKEN = {
    TextIgnored: "text of the condition changes nothing",
    StyleIgnored: "style of the condition changes nothing",
    TimeIgnored: "the prediction does not depend on the time",
    NegativeIgnored: "the negative text changes nothing under guidance",
    GuidanceIgnored: "guidance changes nothing",
    EncodedTwiceNormalised: "encode differs from the public autoencoder",
    DecodedTwiceDenormalised: r"decode\(denormalise\(latents\)\) differs from the public frames",
    DecodedAtAnotherScale: r"decode\(denormalise\(latents\)\) differs from the public frames",
    DecodedBelowZero: r"RGB in \[0, 1\] is wanted",
    FramesSwapped: r"decode\(denormalise\(latents\)\) differs from the public frames",
    EncodedBackwards: "encode differs from the public autoencoder",
    NotUndone: "denormalise does not undo normalise",
    OneNoiseForAll: "differ from what they are in a batch of two",
    NoiseOfNobody: "differ from what they are in a batch of two",
    BatchDependent: "differ from what they are in a batch of two",
    TextOfTheBatch: "a condition depends on its batch|differ from what they are in a batch of two",
    ShapeNotTold: "the timesteps do not follow it",
    ShiftOfAnotherLength: "differ from the public pipeline's",
    ShiftNotReplaced: "flow_shift 2 and 5 give the same timesteps",
    TableOfAnotherShape: "is not the scheduler's",
    FrameRuleIgnored: r"allowed_frames\(2\) is 1, but latent_grid takes 2",
    FrameRuleOfAnother: "the first frame is encoded alone, then temporal_stride",
    FramesWithoutTheFirst: "the first frame is encoded alone",
    SizesIgnored: "multiples of 2 are allowed",
    InputSizeIgnored: "encode does not resize frames to input_size",
    SampledFromNobody: "a sample of the posterior does not follow its random generator",
    AnswersBackwards: "differ from the public pipeline's",
    TrainedBackwards: "does not lead to the clean latents",
    TrainedAtOtherTimes: "training_pair says timestep",
    NoGradient: "this ended in RuntimeError|no finite gradient",
    OneLayersGradientIsNan: "no finite gradient reaches the denoiser's mix.weight through prediction",
    SecondPassByHalf: "decode_gradient is not the gradient through decode",
    NoGradientThroughFrames: "through the video decoder exactly",
    SaysItTakesNoText: "takes a text, not an image",
}


@pytest.mark.parametrize("kind", BROKEN, ids=lambda kind: kind.__name__)
def test_a_broken_generator_is_told_what_is_wrong(kind: type[ToyGenerator]) -> None:
    with pytest.raises(AssertionError, match=BROKEN[kind]) as caught:
        check(kind)
    assert "\n" not in str(caught.value)


def test_strides_are_known_without_the_networks() -> None:
    class Late(ToyGenerator):
        temporal_stride = 1

        def __init__(self, max_text_tokens: int | None = None, **parts: Any) -> None:
            super().__init__(max_text_tokens, **parts)
            if parts:
                self.temporal_stride = 3

    with pytest.raises(AssertionError, match=r"allowed_frames\(2\) is 1 with the networks and 2 without"):
        check(Late)


def test_parts_are_saved_and_loaded_where_nobody_says_that_they_are_not() -> None:
    with pytest.raises(
        AssertionError, match="load to the same generator, and missing ones are named: this ended in Attr"
    ):
        check_generator(make, published)


def test_the_kit_needs_no_test_framework() -> None:
    program = (
        "import sys; sys.modules['pytest'] = None; import vist3a.testing.generators, vist3a.testing.generator_checks"
    )
    subprocess.run([sys.executable, "-c", program], check=True, env=os.environ)

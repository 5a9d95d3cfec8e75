"""One step of every stage, by the functions that the pipelines call, on a clip of noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from vist3a.adapters.lora import add_lora, load_lora, merge_lora, save_lora
from vist3a.alignment.align import AlignData, align
from vist3a.alignment.align_settings import AlignSettings
from vist3a.alignment.rewards.one_scorer import reward_from
from vist3a.distillation.distill import DistillSettings, distill
from vist3a.distillation.distill_loss import DistillWeights
from vist3a.generators.base import VideoGenerator
from vist3a.generators.condition_store import ConditionStore, encoder_identity
from vist3a.networks.base import ReconstructionModel
from vist3a.records import Clip, Condition
from vist3a.runtime.loop import LoopConfig
from vist3a.sampling.sampling import SamplingConfig, decode_scene, sample_latents
from vist3a.stitching.decoder import StitchedDecoder
from vist3a.stitching.extract import TapConfig, accumulate, tap_settings
from vist3a.stitching.layer_search import search_moments
from vist3a.stitching.store import load_fit, load_moments, save_fit, save_moments
from vist3a.stitching.tap import Tap
from vist3a.stitching.tuning import prepare
from vist3a_app.rehearsal.random_scorer import RandomScorer

PROMPT = "a red ball on the floor"
PICTURE = "picture.safetensors"
NOISE = "noise"
ONE_STEP = LoopConfig(steps=1, learning_rate=1e-4, warmup=1, log_every=1, checkpoint_every=10, ema=None)


@dataclass(frozen=True)
class Shapes:
    """Real shapes: those of generation with fewer denoising steps, the stitch convolution, and what distillation compares."""

    sampling: SamplingConfig
    tap: TapConfig
    kinds: tuple[str, ...] | None
    distill_weights: DistillWeights
    lora_targets: tuple[str, ...]

    @property
    def video(self) -> tuple[int, int]:
        """Height and width."""
        return self.sampling.height, self.sampling.width


@dataclass(frozen=True)
class Stages:
    """Everything one step needs; results pass through files in ``folder``, as they do between pipelines."""

    load_generator: Callable[..., VideoGenerator]
    load_reconstruction: Callable[[], ReconstructionModel]
    source: str
    shapes: Shapes
    folder: Path
    device: torch.device

    def embed(self) -> str:
        """Text encoder: a prompt and the empty text; of image-to-video generators the condition of a picture."""
        if not self._takes_text():
            generator = self.load_generator("vae", "text")
            with torch.no_grad():
                made = generator.embed_images(self._clip().frames[:1].to(self.device), self.shapes.video, [_random()])
            save_file({k: v.cpu().contiguous() for k, v in made.tensors.items()}, self.folder / PICTURE)
            return "one picture"
        count = self._store().fill([PROMPT, ""], lambda: self.load_generator("text"))
        return f"{count} texts"

    def extract(self) -> str:
        """Moments of one clip for all candidate points."""
        generator, network = self.load_generator("vae"), self.load_reconstruction()
        points = network.points_of(self.shapes.kinds)
        settings = tap_settings(generator, network, points, self.shapes.video, self.shapes.tap)
        moments = accumulate(Tap(generator, network, settings), [NOISE], self._bytes, batch=1)
        # The one clip stands for both splits.
        save_moments(self._new("moments"), dict.fromkeys(("fit", "selection"), moments), settings)
        return f"{len(points)} points, {moments.gram.shape[0]} features"

    def score(self) -> str:
        """The fit of every point, its error on a clip, and the stitch layer of the best."""
        splits, settings = load_moments(self.folder / "moments", self.device)
        tap = Tap(self.load_generator("vae"), self.load_reconstruction(), settings)
        found = search_moments(
            tap,
            splits["fit"],
            splits["selection"],
            [NOISE],
            self._bytes,
            ridges=(1e-3,),
            bias="position",
            batch=1,
            seed=0,
        )
        save_fit(self._new("stitch_layer"), found.layer(), settings.spec)
        return f"chosen {found.best.point}"

    def distill(self) -> str:
        """One training step of the stitched decoder through adapters, on one clip."""
        generator, teacher, decoder = self.load_generator("vae"), self.load_reconstruction(), self._decoder()
        prepare(decoder, "lora", 64, 32.0)
        decoder.network.gradient_checkpointing = True
        settings = DistillSettings(
            seed=0, batch=1, views=(self.shapes.sampling.frames,), weights=self.shapes.distill_weights, loop=ONE_STEP
        )
        distill(decoder, teacher, generator, [self._clip()], settings)
        return "1 clip"

    def generate(self) -> str:
        """A few denoising steps, the decoded video and the scene."""
        generator = self.load_generator("vae", "denoiser")
        if (self.folder / "adapter").is_dir():
            load_lora(generator.denoiser, self.folder / "adapter")
            merge_lora(generator.denoiser)
        (latents,) = sample_latents(generator, self._condition, [PROMPT], self.shapes.sampling, 0, self.device)
        # As the generate pipeline does: the denoiser is gone before anything is decoded.
        generator.release("denoiser")
        decoder = self._decoder().requires_grad_(False).eval()
        scene = decode_scene(generator, decoder, PROMPT, latents).scene
        count = 0 if scene.gaussians is None else scene.gaussians.means.shape[1]
        return f"{self.shapes.sampling.steps} denoising steps" + (f", {count} Gaussians" if count else "")

    def align(self) -> str:
        """One alignment step: a prompt, a clip, one denoising step with gradient; not without text."""
        if not self._takes_text():
            return "left out: the generator takes no text"
        decoder = self._decoder().requires_grad_(False).eval()
        generator = self.load_generator("vae", "denoiser")
        add_lora(generator.denoiser, 8, 16.0, self.shapes.lora_targets, seed=0)
        generator.checkpoint_gradients()
        decoder.network.gradient_checkpointing = True
        # The scorer draws its weights from the global generator.
        torch.manual_seed(0)
        scorer = RandomScorer().requires_grad_(False).eval()
        rendered = ("text_decoded", "text_rendered", "consistency_l1", "consistency_perceptual")
        names = rendered if decoder.network.has_gaussians else ("reprojection", "pointmap_camera", "camera_smoothness")
        rewards = reward_from(scorer.to(self.device), dict.fromkeys(names, 1.0))
        sampling = self.shapes.sampling
        settings = AlignSettings(
            seed=0,
            prompts_per_step=1,
            clips_per_step=1,
            denoising_steps=sampling.steps,
            gradient_steps=1,
            guidance=sampling.guidance,
            scored_views=2,
            generative_weight=1.0,
            frames=sampling.frames,
            height=sampling.height,
            width=sampling.width,
            flow_shift=sampling.flow_shift,
            loop=ONE_STEP,
        )
        align(generator, decoder, rewards, AlignData([PROMPT], [self._clip()], self._condition), settings)
        save_lora(generator.denoiser, self.folder / "adapter")
        return f"1 prompt, 1 clip, {sampling.steps} denoising steps, 1 of them with gradient"

    def _bytes(self, name: str) -> Tensor:
        """Frames of the clip as they are stored."""
        return (self._clip().frames * 255).to(torch.uint8)

    def _clip(self) -> Clip:
        frames = torch.rand(self.shapes.sampling.frames, 3, *self.shapes.video, generator=_random())
        return Clip("rehearsal", frames, PROMPT)

    def _decoder(self) -> StitchedDecoder:
        fit, spec = load_fit(self.folder / "stitch_layer")
        decoder = StitchedDecoder(self.load_reconstruction(), spec, fit).to(self.device)
        # Blocks before the entry never run, and must not count as memory.
        decoder.network.drop_before(decoder.point)
        return decoder

    def _store(self) -> ConditionStore:
        return ConditionStore(self.folder / "texts", encoder_identity(self.source, None), self.device)

    def _condition(self, texts: Sequence[str]) -> Condition:
        """As embedded before; there is one picture for all."""
        if self._takes_text():
            return self._store()(texts)
        return Condition(load_file(self.folder / PICTURE)).to(self.device)

    def _takes_text(self) -> bool:
        return self.load_generator().takes_text

    def _new(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def _random() -> torch.Generator:
    return torch.Generator().manual_seed(0)

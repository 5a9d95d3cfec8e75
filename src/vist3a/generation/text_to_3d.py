"""From a prompt to a scene with loaded networks: what the ``generate`` pipeline, notebooks and the served model share."""

from __future__ import annotations

import html
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.alignment.rewards.base import Views
from vist3a.alignment.rewards.weighted_sum import WeightedSum
from vist3a.data.prompt_list import check_prompts
from vist3a.export.scene import ExportSettings, gaussians_to_write, save_scene, scene_name, scene_picture
from vist3a.export.viewer import Caption, save_viewer
from vist3a.generation.improvement import ImprovementSettings, improve
from vist3a.generators.base import VideoGenerator
from vist3a.records import Condition, Gaussians, Reconstruction
from vist3a.rendering import renderer_for
from vist3a.rendering.base import Renderer
from vist3a.runtime.progress import counting
from vist3a.sampling.sampling import SamplingConfig, decode_scene, sample_latents
from vist3a.stitching.base import Decoder

VIEWER_HEIGHT = 640
Settings = TypeVar("Settings", SamplingConfig, ExportSettings)


@dataclass(frozen=True)
class Scene:
    """What one prompt became: frames of the video decoder in [0, 1], the 3D decoded with them, and the Gaussians to be written.

    ``caption`` has the prompt, the settings and the scores. A notebook shows the scene by its viewer.
    """

    caption: Caption
    seed: int
    frames: Float[Tensor, "1 views 3 height width"]
    reconstruction: Reconstruction
    gaussians: Gaussians | None
    render: Renderer
    export: ExportSettings

    @property
    def name(self) -> str:
        """The name of its folder."""
        return scene_name(self.caption.prompt, self.seed)

    def save(self, folder: Path | str, name: str | None = None) -> dict[str, Path]:
        """Write all assets to ``folder / name`` (None: the scene's own name).

        Returns:
            Their paths by kind (``gaussians``, ``points``, ``viewer``, ...).
        """
        place = Path(folder) / (name or self.name)
        return save_scene(
            place, self.caption, self.frames, self.reconstruction, self.gaussians, self.render, self.export
        )

    def picture(self, columns: int = 6) -> Float[Tensor, "3 sheet_height sheet_width"]:
        """Some views side by side: decoded frames above, renderings of the network's Gaussians below."""
        return scene_picture(self.frames, self.reconstruction, self.render, columns)

    def page(self) -> str:
        """The viewer as HTML."""
        with TemporaryDirectory() as folder:
            path = Path(folder) / "viewer.html"
            save_viewer(path, self.caption, self.frames[0], self.reconstruction, self.gaussians)
            return path.read_text(encoding="utf-8")

    def _repr_html_(self) -> str:
        style = f"width: 100%; height: {VIEWER_HEIGHT}px; border: 0"
        return f'<iframe srcdoc="{html.escape(self.page())}" style="{style}"></iframe>'


class TextTo3D:
    """Loaded networks and the settings of one generation; :func:`vist3a.load` makes one from a project.

    ``generate`` takes the parameters of the group ``generate`` by their names; what is not given stays as configured. ``asked``
    turns a prompt into the text that is embedded, ``negative_prompt`` is what guidance compares with.

    Threads may share one: the networks work for one prompt at a time (see ``_turn``), and every scene is that of its own prompt
    and seed, whoever else asks. Prompts are checked without waiting for a scene that is being made.
    """

    def __init__(
        self,
        generator: VideoGenerator,
        decoder: Decoder,
        device: torch.device,
        sampling: SamplingConfig,
        seed: int,
        export: ExportSettings,
        reward: WeightedSum | None = None,
        *,
        asked: Callable[[str], str] = str,
        negative_prompt: str = "",
        improvement: ImprovementSettings | None = None,
    ) -> None:
        self.generator, self.decoder, self.device = generator, decoder, device
        self.sampling, self.seed, self.export, self.reward = sampling, seed, export, reward
        self.asked, self.negative_prompt = asked, negative_prompt
        self.improvement = ImprovementSettings() if improvement is None else improvement
        self.render = renderer_for(device)
        # Networks keep what belongs to one prompt on themselves while they run: the denoiser the text's keys and values, the
        # video autoencoder features of the frame before. So it is one prompt after the other.
        self._turn = threading.RLock()
        # A tokenizer keeps the length it cuts at. It is read by those who check prompts, too, and never for long.
        self._reading = threading.Lock()

    def generate(
        self,
        prompt: str,
        *,
        seed: int | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        frames: int | None = None,
        height: int | None = None,
        width: int | None = None,
        smoothing: float | None = None,
        max_gaussians: int | None = None,
        min_opacity: float | None = None,
        voxel_size: float | None = None,
        after_step: Callable[[], None] = lambda: None,
    ) -> Scene:
        """The scene of one prompt.

        ``after_step`` is called after every denoising step. What it raises ends the generation, and the next one is as if this
        one had never been.

        Raises:
            ValueError: The prompt is empty or has no known word, or a size does not fit.
        """
        sampling = _given(self.sampling, steps=steps, guidance=guidance, frames=frames, height=height, width=width)
        export = _given(
            self.export,
            smoothing=smoothing,
            max_gaussians=max_gaussians,
            min_opacity=min_opacity,
            voxel_size=voxel_size,
        )
        self.check([prompt])
        with self._turn, counting("generate", sampling.steps) as done:

            def stepped() -> None:
                done(1)
                after_step()

            return self._make(prompt, self.seed if seed is None else seed, sampling, export, stepped)

    def generate_all(self, prompts: Sequence[str]) -> Iterator[Scene]:
        """The scenes of several prompts, one by one under a progress bar; each prompt once, all checked first."""
        unique = list(dict.fromkeys(prompts))
        self.check(unique)
        with counting("generate", len(unique) * self.sampling.steps) as done:
            for prompt in unique:
                # Held while a scene is made, not while the caller works with it.
                with self._turn:
                    scene = self._make(prompt, self.seed, self.sampling, self.export, lambda: done(1))
                yield scene

    def decode(self, prompt: str, latents: Float[Tensor, "1 channels times rows columns"]) -> Scene:
        """The scene of raw latents that were sampled for ``prompt`` as configured."""
        with self._turn:
            return self._decode(prompt, latents.to(self.device), self.seed, self.sampling, self.export)

    def check(self, prompts: Sequence[str], *, whole: bool = False) -> None:
        """ValueError for a prompt that cannot work; a warning for words that the generator does not know.

        ``whole`` refuses a prompt of which only the beginning would be read, too.
        """
        if any(not prompt.strip() for prompt in prompts):
            raise ValueError("the prompt is empty; give a text")
        with self._reading:
            for prompt, tokens, read in self.generator.cut_prompts(prompts) if whole else []:
                raise ValueError(f'prompt "{prompt[:100]}...": {tokens} tokens; allowed: {read}')
            check_prompts(prompts, self.generator)

    def check_size(self, *, frames: int | None = None, height: int | None = None, width: int | None = None) -> None:
        """ValueError for a number of frames or a size (pixels) that the generator does not make; None: as configured."""
        sampling = _given(self.sampling, frames=frames, height=height, width=width)
        self.generator.latent_grid(sampling.frames, sampling.height, sampling.width)

    @torch.no_grad()
    def _make(
        self, prompt: str, seed: int, sampling: SamplingConfig, export: ExportSettings, after_step: Callable[[], None]
    ) -> Scene:
        (latents,) = sample_latents(
            self.generator,
            lambda prompts: self._embed([self.asked(text) for text in prompts]),
            [prompt],
            sampling,
            seed,
            self.device,
            self._embed([self.negative_prompt]) if self.generator.uses_negative else None,
            after_step=after_step,
        )
        return self._decode(prompt, latents, seed, sampling, export)

    def _embed(self, texts: Sequence[str]) -> Condition:
        with self._reading:
            return self.generator.embed(texts)

    @torch.no_grad()
    def _decode(
        self, prompt: str, latents: Tensor, seed: int, sampling: SamplingConfig, export: ExportSettings
    ) -> Scene:
        made = decode_scene(self.generator, self.decoder, prompt, latents)
        facts: dict[str, str | float | int] = {"seed": seed, "steps": sampling.steps, "guidance": sampling.guidance}
        gaussians = None
        if made.scene.gaussians is not None:
            # Files get the improved and pruned Gaussians; scores are those of all that the network made.
            better, figures = improve(made.scene.gaussians, made.scene, made.frames, self.render, self.improvement)
            gaussians = gaussians_to_write(better, made.scene, export)
            facts |= {"gaussians": gaussians.means.shape[1], **figures}
            facts |= self._scores(prompt, made.frames, made.scene, made.scene.gaussians)
        return Scene(Caption(prompt, facts), seed, made.frames, made.scene, gaussians, self.render, export)

    def _scores(self, prompt: str, frames: Tensor, scene: Reconstruction, gaussians: Gaussians) -> dict[str, float]:
        """How far renderings of the network's Gaussians are from the frames (dB) and, where there is a reward, its terms."""
        rendered = self.render(gaussians, scene.cameras, (frames.shape[-2], frames.shape[-1])).rgb.clamp(0, 1)
        # Equal images get 100 dB, not infinity.
        error = (rendered - frames).square().mean().clamp(min=1e-10)
        scores = {"consistency_db": float(-10 * torch.log10(error))}
        if self.reward is not None:
            scores |= {name: float(value) for name, value in self.reward(Views(frames, rendered, (prompt,)))[1].items()}
        return scores


def _given(settings: Settings, **changes: float | int | None) -> Settings:
    given: dict[str, Any] = {name: value for name, value in changes.items() if value is not None}
    return replace(settings, **given)

"""What a run of the chain has left behind, and its figures computed anew from the files by their definitions."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import project_config
import torch
from kedro.config import OmegaConfigLoader
from kedro.validation.parameter_validator import ParameterValidator
from torch import Tensor

from vist3a.adapters.lora import load_lora
from vist3a.data.clip_store import ClipStore
from vist3a.generators.base import VideoGenerator
from vist3a.records import Clip, Reconstruction
from vist3a.rendering import renderer_for
from vist3a.sampling.rollout import prompt_noise
from vist3a.stitching.decoder import StitchedDecoder
from vist3a.stitching.store import load_fit
from vist3a_app.pipelines.stitched import load_decoder
from vist3a_app.settings import CONFIG_LOADER_ARGS
from vist3a_lab.scorers import DualEncoder


@dataclass(frozen=True)
class Chain:
    """A project after ``kedro run --env=smoke --pipelines=stitch``, which is the working directory."""

    root: Path

    @cached_property
    def params(self) -> dict[str, Any]:
        """Typed parameters by group."""
        settings = {key: value for key, value in CONFIG_LOADER_ARGS.items() if key != "default_run_env"}
        loader = OmegaConfigLoader(str(self.root / "conf"), env="smoke", default_run_env="base", **settings)
        return dict(ParameterValidator(project_config.pipelines()).validate_raw_params(dict(loader["parameters"])))

    def report(self, name: str) -> dict[str, Any]:
        return json.loads((self.root / "data" / "08_reporting" / f"{name}.json").read_text())

    def models(self, name: str) -> Path:
        return self.root / "data" / "06_models" / name

    def clips(self, split: str) -> list[Clip]:
        data = self.root / "data" / "03_primary"
        store = ClipStore(data / "clips", pd.read_parquet(data / "clip_index.parquet"))
        return [store.load(name) for name in store.names(split)]

    def generator(self, adapter: bool = False) -> VideoGenerator:
        generator = self.params["networks"].load_generator("vae", "denoiser", "text", "tokenizer")
        if adapter:
            load_lora(generator.denoiser, self.models("aligned_generator"))
        return generator

    def stitched(self) -> StitchedDecoder:
        """With the layer in closed form."""
        fit, spec = load_fit(self.models("stitch_layer"))
        return StitchedDecoder(self.params["networks"].load_reconstruction(), spec, fit)

    def distilled(self) -> StitchedDecoder:
        return load_decoder(self.params["networks"], self.models("stitched_decoder"))


def distances(ours: Reconstruction, true: Reconstruction) -> dict[str, float]:
    """By their definitions, of one clip."""
    turns = [output.cameras.world_to_camera[0, :, :3, :3].double() for output in (ours, true)]
    moves = [output.cameras.world_to_camera[0, :, :3, 3:].double() for output in (ours, true)]
    centres = [-(turn.mT @ move)[..., 0] for turn, move in zip(turns, moves, strict=True)]
    angles = []
    for i in range(len(turns[0])):
        for j in range(i):
            one, other = (turn[j] @ turn[i].T for turn in turns)
            sine = (one @ other.T - other @ one.T).norm() / 8**0.5
            angles.append(torch.rad2deg(torch.atan2(sine, ((one @ other.T).trace() - 1) / 2)))
    return {
        "depth_absrel": float(((ours.depth - true.depth).abs() / true.depth).mean()),
        "points": float((ours.points - true.points).square().sum(-1).sqrt().mean()),
        "translation": float((centres[0] - centres[1]).square().sum(-1).sqrt().mean()),
        "rotation_deg": float(torch.stack(angles).mean()),
    }


def r2_heldout(chain: Chain) -> float:
    """Of the chosen layer: the share of the held-out tokens' squared distance to the mean of the fit clips that it explains."""
    decoder, generator = chain.stitched(), chain.generator()
    network = chain.params["networks"].load_reconstruction()

    def tokens(clip: Clip) -> Tensor:
        return network.tokens_at([decoder.point], clip.frames[None])[decoder.point].patch_tokens.double()

    mean = torch.cat([tokens(clip).flatten(0, -2) for clip in chain.clips("fit")]).mean(0)
    error = deviation = 0.0
    for clip in chain.clips("heldout"):
        true = tokens(clip)
        error += float((decoder.layer(generator.encode(clip.frames[None])) - true).square().sum())
        deviation += float((true - mean).square().sum())
    return 1 - error / deviation


def generated(chain: Chain, generator: VideoGenerator, prompt: str, more: int = 0) -> tuple[Tensor, Tensor]:
    """Frames and renderings of a prompt with the settings of the evaluation: the sampler's own steps, one prompt alone.

    ``more`` is added to the seed of the noise.
    """
    params, networks = chain.params["evaluate"], chain.params["networks"]
    text, empty = (generator.embed([asked]) for asked in (networks.asked(prompt), networks.generator.negative_prompt))
    shape = generator.latent_grid(params.frames, params.height, params.width)
    z = prompt_noise(prompt, params.seed + more, shape)
    sampler = generator.sampler(params.steps, shape, flow_shift=params.flow_shift)
    z = sampler.start(z)
    for k, timestep in enumerate(sampler.timesteps):
        told = generator.guided(sampler.model_input(z, k), timestep.float(), text, empty, params.guidance)
        z = sampler.step(told, k, z)
    raw = generator.denormalise(z)
    frames = generator.decode(raw)
    size = (frames.shape[-2], frames.shape[-1])
    scene = chain.distilled()(raw, size, rgb=frames)
    assert scene.gaussians is not None
    return frames, renderer_for(torch.device("cpu"))(scene.gaussians, scene.cameras, size).rgb.clamp(0, 1)


def rewards(chain: Chain, prompt: str, frames: Tensor, rendered: Tensor) -> Mapping[str, float]:
    """Terms that have a simple definition."""
    judge = DualEncoder.from_pretrained(Path(chain.params["evaluate"].judge), torch.device("cpu"))
    text = judge.embed_text([prompt])
    cosine = torch.cosine_similarity(judge.embed_images(frames[0]), text, dim=-1).mean()
    return {
        "reward/consistency_l1": -float((frames - rendered).abs().mean()),
        "judge/text_decoded": float(cosine),
    }


def film(chain: Chain, frames: Tensor) -> Mapping[str, float]:
    """What the original network sees in frames [1, views, 3, height, width], by the definitions of the figures."""
    scene = chain.params["networks"].load_reconstruction().reconstruct(frames)
    size = (frames.shape[-2], frames.shape[-1])
    rendered = renderer_for(torch.device("cpu"))(scene.gaussians, scene.cameras, size).rgb.clamp(0, 1)
    pose = scene.cameras.world_to_camera[0].double()
    places = [-(one[:3, :3].T @ one[:3, 3]) for one in pose]
    path = sum(float((b - a).norm()) for a, b in pairwise(places))
    return {
        "rerender": -10 * math.log10(float((rendered - frames).square().mean())),
        "motion": path / float(scene.depth.median()),
    }


def apart(chain: Chain, one: Tensor, other: Tensor) -> float:
    """Of two films [views, 3, height, width], frame by frame: squared distance of the judge's feature maps of unit length."""
    judge = DualEncoder.from_pretrained(Path(chain.params["evaluate"].judge), torch.device("cpu"))
    distances = []
    for maps in zip(judge.feature_maps(one * 2 - 1), judge.feature_maps(other * 2 - 1), strict=True):
        a, b = (each / each.square().sum(1, keepdim=True).sqrt() for each in maps)
        distances.append(float((a - b).square().sum(1).mean()))
    return sum(distances) / len(distances)

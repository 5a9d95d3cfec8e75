"""What is asked for, made ready for the denoiser: texts or first frames as conditions, by the name of their scene."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from vist3a.data.first_frames import read_first_frames
from vist3a.data.prompt_list import read_prompts
from vist3a.pairing import takes_text
from vist3a.records import Condition
from vist3a.records.condition import Embed
from vist3a.runtime.device import resolve_device
from vist3a.runtime.workers.settings import HERE, WorkerSettings
from vist3a.sampling.rollout import prompt_generator
from vist3a_app.pipelines.generate.params import GenerateParams
from vist3a_app.pipelines.networks import Networks


@dataclass(frozen=True)
class Requests:
    """Scenes to be made; it travels to the workers.

    Attributes:
        names: Prompts, or names of images, each once.
        embed: Their conditions.
        negative: What guidance compares with, in host memory; None: nothing.
        about: What the conditions are of.
    """

    names: tuple[str, ...]
    embed: Embed
    negative: Condition | None
    about: str


def requests(params: GenerateParams, networks: Networks, store: Path, workers: WorkerSettings = HERE) -> Requests:
    """What the parameters ask for.

    FileNotFoundError for a file or folder of the parameters that is not there, whenever it would be needed.
    """
    params.check_places()
    if params.image is not None and not takes_text(networks.generator.family):
        return _from_images(params, networks)
    if params.image is not None:
        raise ValueError(
            f"generate.image: {networks.generator.family} takes a text; allowed: null, with generate.prompt"
        )
    if params.prompts_file is None and not (params.prompt or "").strip():
        raise ValueError("generate.prompt is empty; give a text, or generate.prompts_file with one prompt per line")
    prompts = [str(params.prompt)] if params.prompts_file is None else read_prompts(Path(params.prompts_file))
    embed, negative = networks.embed(prompts, store, workers)
    return Requests(tuple(dict.fromkeys(prompts)), embed, negative.to("cpu"), embed.files.identity)


@dataclass(frozen=True)
class ImageConditions:
    """Conditions of pictures by their names, in host memory; called, they are on ``device``."""

    conditions: Mapping[str, Condition]
    device: torch.device

    def __call__(self, names: Sequence[str]) -> Condition:
        """Of some pictures."""
        return Condition.cat([self.conditions[name] for name in names]).to(self.device)


@torch.no_grad()
def _from_images(params: GenerateParams, networks: Networks) -> Requests:
    pictures = read_first_frames(Path(str(params.image)), params.height, params.width)
    device, size = resolve_device(networks.device), (params.height, params.width)
    encoder = networks.load_generator("vae", "text")
    conditions, contents = {}, []
    for name, picture in pictures.items():
        contents.append(hashlib.sha256(picture.numpy().tobytes()).hexdigest())
        # By content and seed: the name of a picture, or others beside it, change nothing.
        random = prompt_generator(f"augmentation/{contents[-1]}", params.seed)
        conditions[name] = encoder.embed_images(picture[None].to(device), size, [random]).to("cpu")
    # Without texts there is no negative condition.
    return Requests(tuple(pictures), ImageConditions(conditions, device), None, " ".join(contents))

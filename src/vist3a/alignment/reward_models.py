"""The one place that turns the name of a scorer or a perceptual distance into a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from vist3a import registry
from vist3a.alignment.rewards.text_image import FeatureScorer, TextImageScorer
from vist3a.scorers.clip import ClipScorer
from vist3a.scorers.clip_sizes import CLIP_SIZES
from vist3a.scorers.lpips import Lpips
from vist3a.weights.public import PublicWeights, locate, use_licence
from vist3a.weights.weight_files import CONFIG, read_config

DUAL_ENCODER = "dual_encoder"
"""Kind of the folders that do not say it."""
TOKENIZER, LPIPS_NETWORK, LPIPS_LINEAR = "clip-tokenizer", "lpips-vgg", "lpips-linear"


def scorer_names(public: Mapping[str, PublicWeights]) -> list[str]:
    """Names among ``public`` reward models that score pictures by a text."""
    return [name for name, entry in public.items() if entry.config in CLIP_SIZES]


def load_scorer(
    source: str,
    where: str,
    device: torch.device,
    dtype: torch.dtype,
    public: Mapping[str, PublicWeights],
    compiled: bool = False,
) -> TextImageScorer:
    """Frozen text-image scorer: a folder in our layout, always float32, or a name of ``public`` reward models.

    ``compiled``: the layers of published ones are compiled at their first use. ``where`` is the parameter that said so.
    FileNotFoundError or ValueError in one sentence for everything else.
    """
    folder = Path(source).expanduser()
    if (folder / CONFIG).is_file():
        return load_feature_scorer(folder, device)
    if source not in public or public[source].config not in CLIP_SIZES:
        named = scorer_names(public)
        raise FileNotFoundError(
            f"{where}: {source} is no folder with {CONFIG} (for the embedded ones: `dvc pull`, or `kedro run "
            f"--pipelines=pretrain`) and no text-image scorer under rewards of weights.yml; scorers: {', '.join(named) or 'none'}"
        )
    weights, tokenizer = _file(source, where, public), _file(TOKENIZER, where, public)
    scorer = ClipScorer.from_files(weights, tokenizer, CLIP_SIZES[public[source].config], dtype).to(device)
    if compiled:
        scorer.compile_blocks()
    return scorer


def load_feature_scorer(folder: Path, device: torch.device) -> FeatureScorer:
    """Frozen scorer of a folder in our layout, float32; its ``config.json`` says of which kind it is (key ``scorer``)."""
    kind = read_config(folder).get("scorer", DUAL_ENCODER)
    scorer: FeatureScorer = registry.find("scorers", kind, f"{folder / CONFIG}: scorer").from_pretrained(folder, device)
    return scorer


def load_perceptual(
    source: str, where: str, device: torch.device, public: Mapping[str, PublicWeights]
) -> Callable[[Tensor, Tensor], Tensor]:
    """Frozen perceptual distance by its name among ``public`` reward models."""
    if source != LPIPS_NETWORK:
        raise ValueError(
            f"{where}: {source!r}; allowed: {LPIPS_NETWORK}, or null for the features of the reward scorer"
        )
    return Lpips.from_files(_file(source, where, public), _file(LPIPS_LINEAR, where, public)).to(device)


def _file(name: str, where: str, public: Mapping[str, PublicWeights]) -> Path:
    if name not in public:
        raise ValueError(
            f"{where}: weights.yml has no entry {name} under rewards; entries: {', '.join(public) or 'none'}"
        )
    use_licence(name, public[name].licence, public[name].commercial)
    return locate(public[name])

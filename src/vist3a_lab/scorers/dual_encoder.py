"""A CLIP-like dual encoder (Radford et al., 2021) at small size, with optional attribute heads for judging."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vist3a.weights.weight_files import WEIGHTS, load_strictly, read_config, read_tensors, save_folder
from vist3a_lab.scorers.image_towers import ConvTower, HybridTower


@dataclass(frozen=True)
class DualEncoderConfig:
    """Sizes of a dual encoder; ``attributes`` maps a name to its number of classes (heads on the image features)."""

    tower: Literal["conv", "hybrid"]
    width: int
    text_depth: int
    text_heads: int
    vocabulary: tuple[str, ...]
    max_words: int = 40
    image_size: int = 64
    conv_channels: tuple[int, ...] = (32, 64, 96, 128)
    hybrid_stem: int = 32
    hybrid_depth: int = 3
    hybrid_heads: int = 4
    attributes: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DualEncoderConfig:
        """From the parsed config.json (lists become tuples)."""
        tupled: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**tupled)


class DualEncoder(nn.Module):
    """Scores how well an image shows a text: cosine similarity of the two embeddings."""

    def __init__(self, config: DualEncoderConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.image = (
            ConvTower(config.conv_channels, width)
            if config.tower == "conv"
            else HybridTower(config.hybrid_stem, width, config.hybrid_depth, config.hybrid_heads, config.image_size)
        )
        # Three more: padding 0, end 1, unknown 2.
        self.words = nn.Embedding(len(config.vocabulary) + 3, width)
        self.positions = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, config.max_words, width), std=0.02))
        layer = nn.TransformerEncoderLayer(
            width, config.text_heads, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.text = nn.TransformerEncoder(layer, config.text_depth, nn.LayerNorm(width), enable_nested_tensor=False)
        self.image_head = nn.Linear(width, width, bias=False)
        self.text_head = nn.Linear(width, width, bias=False)
        # About ln(1 / 0.07), where CLIP's temperature starts; used in training alone.
        self.log_scale = nn.Parameter(torch.tensor(2.7))
        self.attribute_heads = nn.ModuleDict({k: nn.Linear(width, n) for k, n in sorted(config.attributes.items())})
        self._tokenizer: Any = None

    def tokenize(self, texts: Sequence[str]) -> Int[Tensor, "n words"]:
        """Padded token ids on the CPU."""
        from vist3a.generators.word_tokenizer import build_tokenizer, read_as

        if self._tokenizer is None:
            self._tokenizer = build_tokenizer(self.config.vocabulary)
            self._tokenizer.enable_truncation(self.config.max_words)
            self._tokenizer.enable_padding(length=self.config.max_words)
        read = [read_as(text, self.config.vocabulary)[0] for text in texts]
        return torch.tensor([encoding.ids for encoding in self._tokenizer.encode_batch(read)])

    def embed_tokens(self, ids: Int[Tensor, "n words"]) -> Float[Tensor, "n dim"]:
        """Unit text embeddings of token ids; padding is masked and the mean over words is taken."""
        padding = ids == 0
        states = self.text(self.words(ids) + self.positions, src_key_padding_mask=padding)
        keep = (~padding)[..., None].to(states.dtype)
        return nn.functional.normalize(self.text_head((states * keep).sum(1) / keep.sum(1)), dim=-1)

    def embed_text(self, texts: Sequence[str]) -> Float[Tensor, "n dim"]:
        """Unit text embeddings."""
        return self.embed_tokens(self.tokenize(texts).to(self.positions.device))

    def image_features(self, images: Float[Tensor, "n 3 height width"]) -> Float[Tensor, "n dim"]:
        """Image features before the heads; images in [0, 1] of any size (resized to the training size)."""
        size = self.config.image_size
        if images.shape[-2:] != (size, size):
            images = nn.functional.interpolate(images, (size, size), mode="bilinear", antialias=True)
        return self.image(images * 2 - 1)

    def embed_images(self, images: Float[Tensor, "n 3 height width"]) -> Float[Tensor, "n dim"]:
        """Unit image embeddings of RGB in [0, 1]."""
        return nn.functional.normalize(self.image_head(self.image_features(images)), dim=-1)

    def score(self, images: Float[Tensor, "n 3 height width"], text: Float[Tensor, "n dim"]) -> Float[Tensor, " n"]:
        """Cosine similarity in [-1, 1] of each image with its text embedding."""
        return (self.embed_images(images) * text).sum(-1)

    def feature_maps(self, images: Float[Tensor, "n 3 height width"]) -> list[Tensor]:
        """Feature maps of images in [-1, 1], finest first."""
        return self.image.features(images)

    def verdict(self) -> Callable[[str, Tensor], bool] | None:
        """Whether frames show a prompt of the procedural grammar; None without attribute heads."""
        from vist3a_lab.scorers.judging import shows

        return partial(shows, self) if self.attribute_heads else None

    def attributes(self, images: Float[Tensor, "n 3 height width"]) -> dict[str, Float[Tensor, "n classes"]]:
        """Class logits of every attribute head."""
        features = self.image_features(images)
        return {name: head(features) for name, head in self.attribute_heads.items()}

    def save_pretrained(self, folder: Path, dtype: torch.dtype | None = None) -> None:
        """Write the folder that :meth:`from_pretrained` reads."""
        save_folder(folder, asdict(self.config), self.state_dict(), dtype)

    @classmethod
    def from_pretrained(cls, folder: Path, device: torch.device | str = "cpu") -> DualEncoder:
        """Frozen encoder in float32 from a folder."""
        model = cls(DualEncoderConfig.from_dict(read_config(folder)))
        load_strictly(model, read_tensors(folder / WEIGHTS), folder / WEIGHTS)
        return model.requires_grad_(False).eval().to(device)

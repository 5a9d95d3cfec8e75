"""Published CLIP-like scorers (HPSv2.1, PickScore, DFN-CLIP) on transformers' class: how well an image shows a text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vist3a.scorers.clip_keys import from_open_clip
from vist3a.scorers.clip_sizes import ClipSizes
from vist3a.scorers.gradient_at_once import gradient_at_once
from vist3a.weights.weight_files import PICKLED, load_strictly, read_pickled, read_tensors

MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)
NESTED = ("state_dict", "model")
"""Where published files keep the tensors, if not at the top."""
BUFFERS = ("text_model.embeddings.position_ids", "vision_model.embeddings.position_ids")
"""Index tables that older files hold."""
IMAGES_KEPT = 8
"""Images whose activations are held at a time, for their gradients."""
TEXTS_KEPT = 4096
"""Texts whose embeddings are held, the last ones that were asked for: 16 MiB of float32 at the published sizes."""


class ClipScorer(nn.Module):
    """Cosine similarity of image and text embeddings, in [-1, 1], differentiable in the image.

    The published figures of HPSv2.1 and PickScore are this times 100. Text needs no gradient, and gets none.
    """

    def __init__(self, sizes: ClipSizes, tokenizer: Any) -> None:
        from transformers import CLIPConfig, CLIPModel

        super().__init__()
        self.sizes = sizes
        last = sizes.vocabulary - 1
        shared = {"hidden_act": sizes.activation, "projection_dim": sizes.dimension}
        text = {
            "hidden_size": sizes.text_width,
            "intermediate_size": 4 * sizes.text_width,
            "num_hidden_layers": sizes.text_layers,
            "num_attention_heads": sizes.text_heads,
            "vocab_size": sizes.vocabulary,
            "max_position_embeddings": sizes.max_tokens,
            # The text embedding is read at the end-of-text token, the last of the vocabulary.
            "eos_token_id": last,
            "bos_token_id": last - 1,
        }
        image = {
            "hidden_size": sizes.image_width,
            "intermediate_size": 4 * sizes.image_width,
            "num_hidden_layers": sizes.image_layers,
            "num_attention_heads": sizes.image_heads,
            "image_size": sizes.image_size,
            "patch_size": sizes.patch_size,
        }
        self.clip = CLIPModel(
            CLIPConfig(text_config=text | shared, vision_config=image | shared, projection_dim=sizes.dimension)
        )
        tokenizer.enable_truncation(sizes.max_tokens)
        # What follows the end-of-text token is not seen by it.
        tokenizer.enable_padding(length=sizes.max_tokens, pad_id=0, pad_token=tokenizer.id_to_token(0))
        self._tokenizer = tokenizer
        self._embedded: dict[tuple[str, torch.device, torch.dtype], Tensor] = {}

    @classmethod
    def from_files(
        cls, weights: Path, tokenizer: Path, sizes: ClipSizes, dtype: torch.dtype = torch.float32
    ) -> ClipScorer:
        """Frozen scorer from a published state dict and a ``tokenizer.json``; ValueError when they do not fit."""
        from tokenizers import Tokenizer

        state = _state_dict(weights)
        if sizes.layout == "open_clip":
            state = from_open_clip(state)
        state = {key: value.to(dtype) for key, value in state.items() if key not in BUFFERS}
        try:
            words = Tokenizer.from_file(str(tokenizer))
        except Exception as error:  # the library has no class of its own
            raise ValueError(f"{tokenizer} is no tokenizer ({error}); allowed: a tokenizer.json") from error
        if words.get_vocab_size() != sizes.vocabulary:
            raise ValueError(
                f"{tokenizer} has {words.get_vocab_size()} tokens; allowed for these weights: {sizes.vocabulary}"
            )
        # On the meta device nothing is allocated: the tensors of the file take the parameters' places.
        with torch.device("meta"):
            scorer = cls(sizes, words)
        load_strictly(scorer.clip, state, weights, assign=True)
        for tower, length in (("text_model", sizes.max_tokens), ("vision_model", scorer.patches + 1)):
            # The index tables are not in the file.
            getattr(scorer.clip, tower).embeddings.position_ids = torch.arange(length)[None]
        return scorer.requires_grad_(False).eval()

    @property
    def patches(self) -> int:
        """Patch tokens of an image."""
        return int((self.sizes.image_size // self.sizes.patch_size) ** 2)

    def tokenize(self, texts: Sequence[str]) -> Int[Tensor, "n tokens"]:
        """Token ids on the CPU, begin and end of text included; long texts are cut."""
        return torch.tensor([encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))])

    @torch.no_grad()
    def embed_text(self, texts: Sequence[str]) -> Float[Tensor, "n dim"]:
        """Unit text embeddings; each of the last ``TEXTS_KEPT`` texts is embedded once per device and numeric type."""
        # A scorer that was moved or made narrower in between has other embeddings.
        where = (self.clip.logit_scale.device, self.clip.logit_scale.dtype)
        rows = {text: self._embedded[text, *where] for text in texts if (text, *where) in self._embedded}
        if new := [text for text in dict.fromkeys(texts) if text not in rows]:
            pooled = self.clip.text_model(input_ids=self.tokenize(new).to(where[0])).pooler_output
            rows |= zip(new, nn.functional.normalize(self.clip.text_projection(pooled), dim=-1), strict=True)
        asked = {(text, *where): row for text, row in rows.items()}
        others = {key: row for key, row in self._embedded.items() if key[1:] == where and key not in asked}
        # What was asked for last stands last, and stays longest.
        self._embedded = dict(list((others | asked).items())[-TEXTS_KEPT:])
        return torch.stack([rows[text] for text in texts])

    def preprocess(self, images: Float[Tensor, "n 3 height width"]) -> Float[Tensor, "n 3 size size"]:
        """RGB in [0, 1] as the image tower sees it: antialiased bicubic, clipped as bytes are, standardised."""
        size, (height, width) = self.sizes.image_size, images.shape[-2:]
        target = (size, size)
        if self.sizes.resize == "crop":
            # The shorter side becomes ``size``; the other keeps the aspect, rounded down.
            shorter = min(height, width)
            target = (height * size // shorter, width * size // shorter)
        if target != (height, width):
            images = nn.functional.interpolate(images, target, mode="bicubic", antialias=True).clamp(0, 1)
        top, left = (self._margin(side - size) for side in target)
        images = images[..., top : top + size, left : left + size]
        mean, deviation = (images.new_tensor(values)[:, None, None] for values in (MEAN, DEVIATION))
        return (images - mean) / deviation

    def _margin(self, surplus: int) -> int:
        """Pixels cut off before the middle of a side: an odd surplus is split as the model's own processor does."""
        return round(surplus / 2) if self.sizes.layout == "open_clip" else surplus // 2

    def embed_images(self, images: Float[Tensor, "n 3 height width"]) -> Float[Tensor, "n dim"]:
        """Unit image embeddings of RGB in [0, 1]."""
        seen = self.preprocess(images).to(self.clip.logit_scale.dtype)
        pooled = self.clip.vision_model(pixel_values=seen).pooler_output
        return nn.functional.normalize(self.clip.visual_projection(pooled), dim=-1)

    def score(self, images: Float[Tensor, "n 3 height width"], text: Float[Tensor, "n dim"]) -> Float[Tensor, " n"]:
        """Cosine similarity of each image with its text embedding.

        For images that need gradients these are taken along with the score, a few images at a time, so that the tower's
        activations for all of them are never held at once.
        """
        if not (torch.is_grad_enabled() and images.requires_grad):
            return self._score(images, text)
        parts = zip(images.split(IMAGES_KEPT), text.split(IMAGES_KEPT), strict=True)
        return torch.cat([gradient_at_once(self._score, some, of) for some, of in parts])

    def compile_blocks(self) -> None:
        """Let ``torch.compile`` compile the layers of the image tower at their first use, one for all; no key changes."""
        for layer in self.clip.vision_model.encoder.layers:
            layer.compile(dynamic=False)

    def _score(self, images: Float[Tensor, "n 3 height width"], text: Float[Tensor, "n dim"]) -> Float[Tensor, " n"]:
        return (self.embed_images(images) * text).sum(-1).to(images.dtype)


def _state_dict(path: Path) -> dict[str, Tensor]:
    """Tensors by key, from safetensors or a pickled file that may wrap them; index tables of the text mask are left."""
    if path.suffix not in (*PICKLED, ".bin"):
        return read_tensors(path)
    content = read_pickled(path)
    for state in (content, *(content.get(key) for key in NESTED if isinstance(content, dict))):
        if isinstance(state, dict) and state and all(isinstance(value, Tensor) for value in state.values()):
            return {str(key): value for key, value in state.items()}
    raise ValueError(
        f"{path} holds {type(content).__name__}; allowed: tensors by key, or these as {' or '.join(NESTED)}"
    )

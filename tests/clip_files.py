"""Tiny CLIP scorers in the files that are published: state dict in either naming, tokenizer.json."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor

from vist3a.scorers.clip_sizes import ClipSizes

WORDS = ("!", "a", "red", "blue", "ball", "cube", "on", "the", "floor", "<start>", "<end>")
TINY = ClipSizes(
    image_size=28,
    image_width=24,
    image_layers=2,
    image_heads=3,
    text_width=16,
    text_layers=2,
    text_heads=2,
    dimension=12,
    vocabulary=len(WORDS),
    max_tokens=7,
)
TINY_PUBLIC = replace(TINY, layout="transformers")


def write_tokenizer(path: Path) -> Path:
    """Whole words; as CLIP's, the last two tokens begin and end a text."""
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="!"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    last = len(WORDS) - 1
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", last - 1), ("<end>", last)]
    )
    tokenizer.save(str(path))
    return path


def open_clip_state(sizes: ClipSizes = TINY, seed: int = 0) -> dict[str, Tensor]:
    """Random float64 weights by the names and shapes of open_clip."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64) * 0.2

    image, text = sizes.image_width, sizes.text_width
    patches = (sizes.image_size // sizes.patch_size) ** 2
    state = {
        "positional_embedding": random(sizes.max_tokens, text),
        "text_projection": random(text, sizes.dimension),
        "logit_scale": torch.tensor(4.6, dtype=torch.float64),
        "token_embedding.weight": random(sizes.vocabulary, text),
        "visual.class_embedding": random(image),
        "visual.positional_embedding": random(patches + 1, image),
        "visual.proj": random(image, sizes.dimension),
        "visual.conv1.weight": random(image, 3, sizes.patch_size, sizes.patch_size),
        "attn_mask": torch.zeros(1),
    }
    norms = [("visual.ln_pre", image), ("visual.ln_post", image), ("ln_final", text)]
    for prefix, width, layers in (
        ("visual.transformer", image, sizes.image_layers),
        ("transformer", text, sizes.text_layers),
    ):
        for i in range(layers):
            block = f"{prefix}.resblocks.{i}"
            norms += [(f"{block}.ln_1", width), (f"{block}.ln_2", width)]
            for name, rows, columns in (
                ("attn.in_proj_", 3 * width, width),
                ("attn.out_proj.", width, width),
                ("mlp.c_fc.", 4 * width, width),
                ("mlp.c_proj.", width, 4 * width),
            ):
                state[f"{block}.{name}weight"], state[f"{block}.{name}bias"] = random(rows, columns), random(rows)
    for name, width in norms:
        state[f"{name}.weight"], state[f"{name}.bias"] = 1 + random(width), random(width)
    return state


def write_public(folder: Path, name: str = "model.safetensors") -> Path:
    """The file of a tiny CLIPModel of transformers, with the index tables that older files hold."""
    from vist3a.scorers.clip_keys import from_open_clip

    state = {key: value.float().contiguous() for key, value in from_open_clip(open_clip_state()).items()}
    state["text_model.embeddings.position_ids"] = torch.arange(TINY.max_tokens)[None]
    save_file(state, folder / name)
    return folder / name

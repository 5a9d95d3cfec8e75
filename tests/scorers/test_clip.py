"""Published CLIP-like scorers at tiny size, through the real files: values against an independent forward pass in the published
naming, preprocessing against the official processor.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from clip_files import TINY, TINY_PUBLIC, WORDS, open_clip_state, write_public, write_tokenizer
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from vist3a.scorers.clip import DEVIATION, IMAGES_KEPT, MEAN, ClipScorer
from vist3a.scorers.clip_sizes import CLIP_SIZES, ClipSizes

TEXTS = ["a red ball", "The BLUE cube on the floor a red ball", "ball"]


def from_state(folder: Path, state: dict[str, Tensor], sizes: ClipSizes = TINY) -> ClipScorer:
    path = folder / "published.pt"
    torch.save({"epoch": 3, "name": "run", "state_dict": state}, path)
    return ClipScorer.from_files(path, write_tokenizer(folder / "tokenizer.json"), sizes, torch.float64)


def tower(state: dict[str, Tensor], prefix: str, x: Tensor, heads: int, mask: Tensor | None, quick: bool) -> Tensor:
    """Residual blocks as open_clip has them, written out."""

    def norm(x: Tensor, name: str) -> Tensor:
        return functional.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], 1e-5)

    for i in range(2):
        block = f"{prefix}.resblocks.{i}"
        h = norm(x, f"{block}.ln_1")
        joint = h @ state[f"{block}.attn.in_proj_weight"].T + state[f"{block}.attn.in_proj_bias"]
        q, k, v = (p.unflatten(-1, (heads, -1)).transpose(1, 2) for p in joint.chunk(3, dim=-1))
        logits = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        attended = (logits if mask is None else logits + mask).softmax(-1) @ v
        out = attended.transpose(1, 2).flatten(2)
        x = x + out @ state[f"{block}.attn.out_proj.weight"].T + state[f"{block}.attn.out_proj.bias"]
        h = norm(x, f"{block}.ln_2") @ state[f"{block}.mlp.c_fc.weight"].T + state[f"{block}.mlp.c_fc.bias"]
        h = h * torch.sigmoid(1.702 * h) if quick else functional.gelu(h)
        x = x + h @ state[f"{block}.mlp.c_proj.weight"].T + state[f"{block}.mlp.c_proj.bias"]
    return x


def expected_embeddings(
    state: dict[str, Tensor], pixels: Tensor, ids: Tensor, sizes: ClipSizes
) -> tuple[Tensor, Tensor]:
    quick = sizes.activation == "quick_gelu"

    def norm(x: Tensor, name: str) -> Tensor:
        return functional.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], 1e-5)

    x = functional.conv2d(pixels, state["visual.conv1.weight"], stride=sizes.patch_size).flatten(2).transpose(1, 2)
    x = torch.cat([state["visual.class_embedding"].expand(len(x), 1, -1), x], 1) + state["visual.positional_embedding"]
    x = tower(state, "visual.transformer", norm(x, "visual.ln_pre"), sizes.image_heads, None, quick)
    image = norm(x[:, 0], "visual.ln_post") @ state["visual.proj"]
    mask = torch.full((sizes.max_tokens, sizes.max_tokens), -torch.inf, dtype=x.dtype).triu(1)
    y = state["token_embedding.weight"][ids] + state["positional_embedding"]
    y = norm(tower(state, "transformer", y, sizes.text_heads, mask, quick), "ln_final")
    text = y[torch.arange(len(ids)), ids.argmax(-1)] @ state["text_projection"]
    return functional.normalize(image, dim=-1), functional.normalize(text, dim=-1)


@pytest.mark.parametrize("activation", ["gelu", "quick_gelu"])
def test_the_embeddings_are_those_of_the_published_naming(tmp_path: Path, activation: str) -> None:
    sizes, state = replace(TINY, activation=activation), open_clip_state()
    scorer = from_state(tmp_path, state, sizes)
    images = torch.rand(3, 3, 28, 28, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    ids = torch.tensor([[9, 1, 2, 4, 10, 0, 0], [9, 7, 3, 5, 6, 7, 10], [9, 4, 10, 0, 0, 0, 0]])
    torch.testing.assert_close(scorer.tokenize(TEXTS), ids)
    pixels = (images - torch.tensor(MEAN, dtype=torch.float64)[:, None, None]) / torch.tensor(
        DEVIATION, dtype=torch.float64
    )[:, None, None]
    image, text = expected_embeddings(state, pixels, ids, sizes)
    torch.testing.assert_close(scorer.embed_images(images), image, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(scorer.embed_text(TEXTS), text, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(scorer.score(images, text), (image * text).sum(-1), rtol=1e-9, atol=1e-9)
    assert not [name for name, value in [*scorer.named_parameters(), *scorer.named_buffers()] if value.is_meta]
    assert not any(p.requires_grad for p in scorer.parameters())


def test_the_class_of_transformers_reads_its_own_file(tmp_path: Path) -> None:
    scorer = ClipScorer.from_files(write_public(tmp_path), write_tokenizer(tmp_path / "tokenizer.json"), TINY_PUBLIC)
    images = torch.rand(2, 3, 28, 28, generator=torch.Generator().manual_seed(2))
    both = scorer.clip(
        input_ids=scorer.tokenize(TEXTS[:2]), pixel_values=scorer.preprocess(images), attention_mask=None
    )
    torch.testing.assert_close(scorer.embed_images(images), both.image_embeds)
    torch.testing.assert_close(scorer.embed_text(TEXTS[:2]), both.text_embeds)


@pytest.mark.parametrize("size", [(64, 64), (60, 97), (123, 80), (20, 21)])
def test_images_are_prepared_as_by_the_official_processor(tmp_path: Path, size: tuple[int, int]) -> None:
    from transformers import CLIPImageProcessorPil

    scorer = ClipScorer.from_files(write_public(tmp_path), write_tokenizer(tmp_path / "tokenizer.json"), TINY_PUBLIC)
    height, width = size
    coarse = (np.random.default_rng(0).random((height // 4, width // 4, 3)) * 255).astype(np.uint8)
    picture = Image.fromarray(coarse).resize((width, height), Image.Resampling.BILINEAR)
    official = CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    expected = torch.as_tensor(np.stack(official(picture)["pixel_values"]))
    ours = scorer.preprocess(torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None] / 255)
    # The official one rounds to bytes after resizing: half a byte over the smallest deviation.
    torch.testing.assert_close(ours, expected.to(ours.dtype), rtol=0, atol=1.2 / 255 / min(DEVIATION))


def test_squashing_shows_the_whole_image(tmp_path: Path) -> None:
    scorer = from_state(tmp_path, open_clip_state(), replace(TINY, resize="squash"))
    coarse = Image.fromarray((np.random.default_rng(1).random((10, 17, 3)) * 255).astype(np.uint8))
    picture = coarse.resize((70, 40), Image.Resampling.BILINEAR)
    small = np.array(picture.resize((28, 28), Image.Resampling.BICUBIC)) / 255
    expected = (torch.from_numpy(small).permute(2, 0, 1) - torch.tensor(MEAN)[:, None, None]) / torch.tensor(DEVIATION)[
        :, None, None
    ]
    ours = scorer.preprocess(torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].double() / 255)[0]
    torch.testing.assert_close(ours, expected.double(), rtol=0, atol=1.2 / 255 / min(DEVIATION))


def test_the_score_has_the_gradient_of_finite_differences(tmp_path: Path) -> None:
    scorer = from_state(tmp_path, open_clip_state())
    text = scorer.embed_text(["a red ball"])
    # Away from the range's ends, where clipping would hide the gradient.
    images = (0.3 + 0.4 * torch.rand(1, 3, 34, 40, dtype=torch.float64)).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x: scorer.score(x, text), images, fast_mode=True)
    (gradient,) = torch.autograd.grad(scorer.score(images, text).sum(), images)
    assert float(gradient.abs().max()) > 0


def test_a_few_images_at_a_time_have_the_gradients_of_all_at_once(tmp_path: Path) -> None:
    scorer = from_state(tmp_path, open_clip_state())
    text = scorer.embed_text(["a red ball"])
    images = torch.rand(IMAGES_KEPT + 2, 3, 34, 40, dtype=torch.float64).requires_grad_(True)
    weights = torch.rand(len(images), dtype=torch.float64)
    (expected,) = torch.autograd.grad((scorer.embed_images(images) @ text[0] * weights).sum(), images)
    score = (scorer.score(images, text.expand(len(images), -1)) * weights).sum()
    for last in (False, True):  # the graph outlives a term's own gradient
        (found,) = torch.autograd.grad(score, images, retain_graph=not last)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_a_score_keeps_the_gradient_and_nothing_else(tmp_path: Path) -> None:
    scorer = from_state(tmp_path, open_clip_state())
    text = scorer.embed_text(["a red ball"])
    images = torch.rand(2, 3, 34, 40, dtype=torch.float64).requires_grad_(True)
    kept: list[torch.Size] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.shape) or t, lambda t: t):
        score = scorer.score(images, text.expand(2, -1))
    # Within the score tensors are saved, too; what outlives it hangs on the graph.
    (product,) = (function for function, _ in score.grad_fn.next_functions)
    assert [tensor.shape for tensor in product.saved_tensors] == [images.shape]
    assert len(kept) > 10


def test_a_text_is_embedded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer, asked = from_state(tmp_path, open_clip_state()), []
    expected = torch.cat([scorer.embed_text([text]) for text in TEXTS])
    again = from_state(tmp_path, open_clip_state())
    tokenize = again.tokenize
    monkeypatch.setattr(again, "tokenize", lambda texts: asked.extend(texts) or tokenize(texts))
    for order in (TEXTS, TEXTS[::-1]):
        rows = again.embed_text([*order, order[0]])
        torch.testing.assert_close(rows[:-1], expected if order is TEXTS else expected.flip(0), rtol=1e-9, atol=1e-12)
        assert torch.equal(rows[-1], rows[0])
    assert asked == TEXTS


def test_kept_embeddings_follow_the_scorer_to_another_type(tmp_path: Path) -> None:
    scorer = from_state(tmp_path, open_clip_state())
    wide = scorer.embed_text(TEXTS)
    narrow = scorer.float().embed_text(TEXTS)
    assert narrow.dtype == torch.float32
    torch.testing.assert_close(narrow.double(), wide, rtol=1e-4, atol=1e-5)
    # Of the narrow weights, but not the narrow embeddings made wide.
    again = scorer.double().embed_text(TEXTS)
    assert again.dtype == torch.float64 and not torch.equal(again, narrow.double())


def test_only_the_last_texts_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer, asked = from_state(tmp_path, open_clip_state()), []
    expected = torch.cat([scorer.embed_text([text]) for text in TEXTS])
    monkeypatch.setattr("vist3a.scorers.clip.TEXTS_KEPT", 2)
    tokenize = scorer.tokenize
    monkeypatch.setattr(scorer, "tokenize", lambda texts: asked.extend(texts) or tokenize(texts))
    first, second, third = TEXTS
    # More at once than are kept; then in turn one that is kept, one that was not, the first again, which was asked for later.
    for texts in (TEXTS, [second], [first], [second], [third]):
        rows = [TEXTS.index(text) for text in texts]
        torch.testing.assert_close(scorer.embed_text(texts), expected[rows], rtol=1e-9, atol=1e-12)
        assert len(scorer._embedded) <= 2
    assert asked == [first, third]


COMPILED = """
import sys, tempfile
from functools import partialmethod
from pathlib import Path

import torch

# Whether the layers can be captured whole is what is in question; generating code for the CPU takes minutes.
torch.nn.Module.compile = partialmethod(torch.nn.Module.compile, backend="aot_eager")
from test_clip import from_state, open_clip_state

with tempfile.TemporaryDirectory() as folder:
    scorer = from_state(Path(folder), open_clip_state())
text = scorer.embed_text(["a red ball"]).expand(2, -1)
images = torch.rand(2, 3, 34, 40, dtype=torch.float64).requires_grad_(True)

def results():
    score = scorer.score(images, text)
    return score.detach(), *torch.autograd.grad(score.sum(), images)

expected = results()
scorer.compile_blocks()
for found, wanted in zip(results(), expected, strict=True):
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)
print("equal" if float(expected[1].abs().max()) > 0 else "nothing to compare")
"""


def test_compiled_layers_change_nothing() -> None:
    """In a process of its own: the checks of shapes that these tests switch on are nothing to compile."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-c", COMPILED], env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.stdout.strip() == "equal", done.stderr[-2000:]


def test_half_precision_is_close_and_keeps_the_type_of_the_images(tmp_path: Path) -> None:
    path, words = write_public(tmp_path), write_tokenizer(tmp_path / "tokenizer.json")
    images = torch.rand(3, 3, 40, 50, generator=torch.Generator().manual_seed(4))
    full, half = (ClipScorer.from_files(path, words, TINY_PUBLIC, dtype) for dtype in (torch.float32, torch.bfloat16))
    exact, rounded = (model.score(images, model.embed_text(TEXTS)) for model in (full, half))
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, exact, rtol=0, atol=0.05)


def test_wrong_files_are_refused(tmp_path: Path) -> None:
    tokenizer = write_tokenizer(tmp_path / "tokenizer.json")
    state = open_clip_state()
    del state["visual.proj"]
    torch.save(state, tmp_path / "cut.bin")
    with pytest.raises(ValueError, match=r"cut.bin does not fit CLIPModel: 1 missing: visual_projection.weight"):
        ClipScorer.from_files(tmp_path / "cut.bin", tokenizer, TINY)
    torch.save({"weights": state}, tmp_path / "odd.bin")
    with pytest.raises(
        ValueError, match=r"odd.bin holds dict; allowed: tensors by key, or these as state_dict or model"
    ):
        ClipScorer.from_files(tmp_path / "odd.bin", tokenizer, TINY)
    public = write_public(tmp_path)
    with pytest.raises(ValueError, match=rf"has {len(WORDS)} tokens; allowed for these weights: 49408"):
        ClipScorer.from_files(public, tokenizer, CLIP_SIZES["pickscore-v1"])
    (tmp_path / "words.json").write_text("{}")
    with pytest.raises(ValueError, match=r"words.json is no tokenizer .*; allowed: a tokenizer.json"):
        ClipScorer.from_files(public, tmp_path / "words.json", TINY_PUBLIC)
    renamed = {f"other.{key}": value for key, value in load_file(public).items()}
    save_file(renamed, tmp_path / "renamed.safetensors")
    with pytest.raises(ValueError, match=r"renamed.safetensors does not fit CLIPModel"):
        ClipScorer.from_files(tmp_path / "renamed.safetensors", tokenizer, TINY_PUBLIC)


def test_published_sizes_build(tmp_path: Path) -> None:
    """ViT-H/14: 986 million parameters, 257 or 730 image tokens; nothing is allocated."""
    from tokenizers import Tokenizer

    words = write_tokenizer(tmp_path / "tokenizer.json")
    for name, sizes in CLIP_SIZES.items():
        with torch.device("meta"):
            scorer = ClipScorer(sizes, Tokenizer.from_file(str(words)))
        assert scorer.patches + 1 == {"dfn5b-clip-h-14-378": 730}.get(name, 257)
        assert round(sum(p.numel() for p in scorer.parameters()) / 1e6) == {"dfn5b-clip-h-14-378": 987}.get(name, 986)

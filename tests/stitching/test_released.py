"""Published stitched decoders: a file of their layout, made here, gives what unmerged factors on the network give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from reconstruction_cases import build
from released_checkpoint import published, published_name
from torch import nn
from torch.nn import functional

from vist3a.networks.anysplat import AnySplat
from vist3a.stitching.released import load_released

FIRST, RANK, ALPHA = 1, 3, 5.0
SIZE = (16, 16)


def unmerged(network: AnySplat, content: dict[str, Any]) -> AnySplat:
    """The network with the factors beside its layers, as the published code runs them."""
    encoder = network.aggregator.patch_embed
    with torch.no_grad():
        encoder.cls_token.copy_(content["cls_token"])
        encoder.register_tokens.copy_(content["register_tokens"])
    lora = content["lora"]
    for name, module in network.named_modules():
        other = published_name(name, FIRST)
        if other is None or f"{other}.lora_A" not in lora:
            continue
        a, b = lora[f"{other}.lora_A"], lora[f"{other}.lora_B"]
        if module.bias is not None:
            module.bias.data.copy_(lora[f"{other}.bias"])
        if isinstance(module, nn.Linear):
            module.register_forward_hook(lambda _, x, y, a=a, b=b: y + x[0] @ a.T @ b.T * (ALPHA / RANK))
        else:
            module.weight.data += (b @ a).view(module.weight.shape) * (ALPHA / RANK)
    return network


def network() -> AnySplat:
    built = build("anysplat")
    assert isinstance(built, AnySplat)
    return built.requires_grad_(False)


def test_a_published_file_gives_the_published_computation(tmp_path: Path) -> None:
    content = published(network(), FIRST, RANK)
    torch.save(content, tmp_path / "decoder.pth")
    # Latents 8x8 at 64 px, tokens 4x4 at 16 px with patch 4.
    decoder = load_released(tmp_path / "decoder.pth", network(), (8, 8), (4, 4), 4, FIRST, ALPHA)
    assert decoder.layer.spec.stride == (1, 2, 2)
    random = torch.Generator().manual_seed(5)
    latents = torch.randn(1, 4, 2, 8, 8, generator=random, dtype=torch.float64)
    rgb = torch.rand(1, 5, 3, *SIZE, generator=random, dtype=torch.float64)
    stretched = functional.interpolate(latents, (5, 8, 8), mode="trilinear", align_corners=True)
    padded = functional.pad(stretched, (1, 1, 1, 1, 2, 2), mode="replicate")
    layer = {key: value.float().double() for key, value in content["stitching_layer"].items()}
    tokens = functional.conv3d(padded, layer["weight"], layer["bias"], stride=(1, 2, 2)).movedim(1, -1)
    expected = unmerged(network(), content).reconstruct_released(tokens, FIRST, SIZE, rgb)
    result = decoder.double()(latents, SIZE, rgb)
    # Factors are multiplied in float32.
    torch.testing.assert_close(result.depth, expected.depth, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(result.pose_encodings, expected.pose_encodings, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(result.gaussians.scales, expected.gaussians.scales, rtol=1e-3, atol=1e-5)


class Evil:
    """What a pickle could do."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Path.touch, (Path("executed"),)  # type: ignore[return-value]


def test_other_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "decoder.pth"
    content = published(network(), FIRST, RANK)

    def refused(changed: Any, words: str, target: Any = None) -> None:
        torch.save(changed, path)
        with pytest.raises(ValueError, match=words):
            load_released(path, target or network(), (8, 8), (4, 4), 4, FIRST, ALPHA)

    refused({"model": {}}, r"holds model; allowed: a stitched decoder with lora, stitching_layer")
    refused(content | {"extra": Evil()}, "names code in its pickle")
    assert not (tmp_path / "executed").exists()
    stranger = {"encoder.nothing.lora_A": torch.zeros(3, 4), "encoder.nothing.lora_B": torch.zeros(4, 3)}
    refused(content | {"lora": stranger}, r"does not fit AnySplat, which has no nothing\.weight")
    refused(content | {"cls_token": torch.zeros(1, 1, 3)}, r"cls_token is \(1, 1, 3\)")
    refused(content, "by reconstruct_released, which VGGT has not; allowed: .*AnySplat", build("vggt"))

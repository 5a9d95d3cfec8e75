"""A stitched decoder as a folder that knows itself."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from reconstruction_cases import build
from stitching.test_decoder import SIZE, fitted
from tiny_networks import tiny_network

from vist3a.networks.anysplat import AnySplat
from vist3a.stitching.artifact import FILE, load_decoder, read_artifact, save_decoder
from vist3a.stitching.decoder import StitchedDecoder
from vist3a.stitching.store import save_fit
from vist3a.stitching.tuning import Tuning, prepare
from vist3a.weights.identity import Identity, Pairing, generator_identity, network_identity
from vist3a.weights.known import KnownWeights

WAN = Identity("wan", "data/wan", "a" * 64)
PAIRING = Pairing(WAN, Identity("anysplat", "data/anysplat", "b" * 64))


def network() -> AnySplat:
    return tiny_network(dtype=torch.float32)


def saved(folder: Path, tuning: Tuning = "lora") -> StitchedDecoder:
    """A decoder with changed parameters, written to ``folder / trained``."""
    fit, spec = fitted()
    for name in ("layer", "trained"):
        (folder / name).mkdir()
    save_fit(folder / "layer", fit, spec)
    decoder = StitchedDecoder(network(), spec, fit)
    prepare(decoder, tuning, 3, 7.0)
    with torch.no_grad():
        for parameter in decoder.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))
    save_decoder(folder / "trained", decoder, folder / "layer", PAIRING, tuning, 3, 7.0)
    return decoder


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_nobody_has_to_remember_how_it_was_tuned(tuning: Tuning, tmp_path: Path) -> None:
    decoder = saved(tmp_path, tuning)
    again = load_decoder(tmp_path / "trained", network(), PAIRING)
    latents, rgb = torch.randn(1, 4, 2, 2, 2), torch.rand(1, 5, 3, *SIZE)
    with torch.no_grad():
        assert torch.equal(again(latents, SIZE, rgb).depth, decoder(latents, SIZE, rgb).depth)
    assert not any(parameter.requires_grad for parameter in again.parameters())
    artifact = read_artifact(tmp_path / "trained")
    assert artifact is not None
    assert (artifact.point, artifact.tuning, artifact.lora_rank, artifact.lora_alpha) == (decoder.point, tuning, 3, 7.0)
    assert artifact.pairing == PAIRING


def test_another_place_of_the_same_weights_is_the_same_pairing(tmp_path: Path) -> None:
    saved(tmp_path)
    moved = Pairing(replace(PAIRING.generator, source="elsewhere"), replace(PAIRING.network, source="/other"))
    load_decoder(tmp_path / "trained", network(), moved)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"generator": Identity("svd", "svd", "a" * 64)},
            r"is a decoder for the generator wan data/wan \(a+\), not for svd svd",
        ),
        (
            {"generator": Identity("wan", "data/wan", "c" * 64)},
            r"for the generator wan data/wan \(a+\), not for wan data/wan \(c",
        ),
        (
            {"network": Identity("vggt", "vggt", "d" * 64)},
            r"for the 3D network anysplat .*, not for vggt vggt \(d+\); allowed",
        ),
    ],
)
def test_a_decoder_of_another_pairing_is_one_sentence(
    change: dict[str, Identity], sentence: str, tmp_path: Path
) -> None:
    saved(tmp_path)
    with pytest.raises(ValueError, match=sentence) as refused:
        load_decoder(tmp_path / "trained", network(), replace(PAIRING, **change))
    assert "\n" not in str(refused.value)


def test_folders_of_an_earlier_version_load_or_say_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    decoder = saved(tmp_path / "full", "full")
    (tmp_path / "full" / "trained" / FILE).unlink()
    again = load_decoder(tmp_path / "full" / "trained", network(), PAIRING)
    assert torch.equal(again.special_tokens, decoder.special_tokens)
    (tmp_path / "lora").mkdir()
    saved(tmp_path / "lora")
    (tmp_path / "lora" / "trained" / FILE).unlink()
    with pytest.raises(ValueError, match=r"did not write down lora_alpha; allowed: a folder with decoder.json"):
        load_decoder(tmp_path / "lora" / "trained", network(), PAIRING)


def test_a_newer_version_is_one_sentence(tmp_path: Path) -> None:
    saved(tmp_path)
    file = tmp_path / "trained" / FILE
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": 2}))
    with pytest.raises(
        ValueError, match=r"decoder.json: format 2; allowed: 1 \(a newer version made it: update vist3a\)"
    ):
        load_decoder(tmp_path / "trained", network(), PAIRING)


def test_an_identity_is_that_of_the_bytes(tmp_path: Path) -> None:
    """Wherever the files lie; other bytes or another family are another network."""
    known = KnownWeights.read()
    build("vggt").save_pretrained(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    one, two = (network_identity("vggt", str(tmp_path / name), known) for name in ("one", "two"))
    assert one.same_as(two) and one != two
    weights = tmp_path / "two" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(bytes(content))
    assert not one.same_as(network_identity("vggt", str(tmp_path / "two"), known))
    assert not one.same_as(replace(one, family="anysplat"))
    named = network_identity("vggt", "vggt-1b", known)
    assert named.fingerprint == "facebook/VGGT-1B/model.safetensors@main"
    assert generator_identity("wan", "wan-1.3b", known, "abc").fingerprint.endswith("@abc/")

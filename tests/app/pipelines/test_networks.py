"""The parameter group ``networks``: what it may name, and that published weights are those of this run's ``weights.yml``."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from app.pipelines.test_align_parameters import values
from pydantic import ValidationError
from reconstruction_cases import build
from safetensors.torch import save_file
from tiny_generators import public_pipeline, tiny

from vist3a.networks.vggt import VGGT
from vist3a.weights.known import KnownWeights
from vist3a.weights.public import PublicWeights, forget_licences, licences_used
from vist3a_app.pipelines.align.params import AlignParams
from vist3a_app.pipelines.align.phrasing import in_templates, phrased
from vist3a_app.pipelines.networks import Networks

WAN = {"family": "wan", "source": "nowhere"}
KNOWN: dict[str, Any] = {}
"""What ``weights.yml`` of the project adds, in the tests that fill it."""


def chosen(**reconstruction: Any) -> Networks:
    return Networks(device="cpu", weights=KNOWN, generator=WAN, reconstruction={"family": "vggt"} | reconstruction)  # type: ignore[arg-type]


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PublicWeights]:
    """A small VGGT that is published as ``net``."""
    network = build("vggt").float()
    save_file(network.state_dict(), tmp_path / "file.safetensors")
    monkeypatch.setattr(type(network), "published", {"small": network.config})
    entry = {"config": "small", "repo": "a/b", "file": "c", "licence": "MIT", "commercial": True}
    forget_licences()
    KNOWN["weights"] = {"net": entry | {"path": str(tmp_path / "file.safetensors")}}
    yield PublicWeights(**entry)  # type: ignore[arg-type]
    KNOWN.clear()


@pytest.mark.usefixtures("weights")
def test_a_name_or_a_file_with_its_config_is_loaded(tmp_path: Path) -> None:
    named = chosen(source="net").load_reconstruction()
    given = chosen(source=str(tmp_path / "file.safetensors"), config="small").load_reconstruction()
    for network in (named, given):
        assert isinstance(network, VGGT)
        assert torch.equal(
            network.state_dict()["aggregator.camera_token"], build("vggt").aggregator.camera_token.float()
        )


@pytest.mark.usefixtures("weights")
def test_an_unknown_source_lists_the_names() -> None:
    with pytest.raises(FileNotFoundError, match=r"source: nett is no folder .* entries: .*, net$"):
        chosen(source="nett").load_reconstruction()


def test_unknown_keys_are_refused() -> None:
    with pytest.raises(ValidationError, match="revision"):
        chosen(source="net", revision="main")


@pytest.fixture
def wan(tmp_path: Path) -> Iterator[str]:
    """A tiny Wan in a folder that is published as ``tiny-wan``."""
    public_pipeline(tiny("wan")).save_pretrained(tmp_path / "wan")
    entry = {"repo": "a/wan", "stored": "float32", "licence": "CC-BY-NC-4.0", "commercial": False}
    forget_licences()
    KNOWN["generators"] = {"tiny-wan": entry | {"path": str(tmp_path / "wan")}, "other": entry}
    yield str(tmp_path / "wan")
    KNOWN.clear()


def with_generator(**generator: Any) -> Networks:
    return Networks(
        device="cpu",
        weights=KNOWN,
        generator={"family": "wan", "max_text_tokens": 8} | generator,  # type: ignore[arg-type]
        reconstruction={"family": "vggt", "source": "nowhere"},  # type: ignore[arg-type]
    )


def test_a_generator_is_loaded_by_name_and_its_licence_is_told(wan: str, caplog: pytest.LogCaptureFixture) -> None:
    named = with_generator(source="tiny-wan").load_generator("vae", "tokenizer")
    given = with_generator(source=wan, size=[16, 24]).load_generator("vae")
    assert licences_used() == {"tiny-wan": "CC-BY-NC-4.0 (no commercial use)"}
    assert "weights tiny-wan: licence CC-BY-NC-4.0" in caplog.text
    assert given.input_size == (16, 24)
    frames = torch.rand(1, 5, 3, 16, 24)
    assert torch.equal(named.encode(frames), given.encode(torch.nn.functional.pad(frames, (0, 0))))
    with pytest.raises(RuntimeError, match="without its text_encoder"):
        named.embed(["a ball"])


def test_an_unknown_generator_lists_the_names(wan: str) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"source: wam is no folder .* no hub id .* entries: .*, tiny-wan, other$"
    ):
        with_generator(source="wam").load_generator("vae")
    with pytest.raises(
        ValueError, match=r"networks\.generator\.family: 'sora'; allowed: wan, cogvideox, hunyuan_video, svd"
    ):
        with_generator(source=wan, family="sora").load_generator("vae")


def test_a_folder_without_a_part_is_said(wan: str) -> None:
    shutil.rmtree(Path(wan) / "vae")
    with pytest.raises(FileNotFoundError, match="holds no vae in diffusers' layout"):
        with_generator(source=wan).load_generator("vae")


@pytest.mark.filterwarnings("ignore:The `local_dir_use_symlinks` argument is deprecated")  # diffusers still passes it
def test_the_licence_comes_before_the_download(wan: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for part in ("vae", "tokenizer", "denoiser"):
        with pytest.raises(FileNotFoundError, match=r"of a/wan is not in the hub's cache and HF_HUB_OFFLINE forbids"):
            with_generator(source="other").load_generator(part)
    assert licences_used() == {"other": "CC-BY-NC-4.0 (no commercial use)"}


def test_prompts_are_embedded_in_the_template(wan: str, tmp_path: Path) -> None:
    networks = with_generator(source=wan, prompt_template="the {prompt} on the floor", negative_prompt="a green cube")
    embed, negative = networks.embed(["red ball"], tmp_path / "texts")
    generator = networks.load_generator("text")
    with torch.no_grad():
        torch.testing.assert_close(embed(["red ball"])["text"], generator.embed(["the red ball on the floor"])["text"])
        torch.testing.assert_close(negative["text"], generator.embed(["a green cube"])["text"])
    with pytest.raises(ValidationError, match=r"prompt template 'no place' must contain \{prompt\} once"):
        with_generator(source=wan, prompt_template="no place")


def test_prompts_of_rollouts_are_asked_in_templates_that_their_place_draws(wan: str, tmp_path: Path) -> None:
    templates = ("a red {prompt}", "the {prompt} on the floor", "{prompt}")
    networks = with_generator(source=wan, prompt_template="a {prompt}").asking("a green cube", 6)
    loop = {"steps": 6}
    params = AlignParams(**values(prompt_templates=templates, prompts_per_step=2, loop=loop))
    prompts = ["ball", "cube", "floor"]
    embed, negative = networks.embed(prompts, tmp_path / "texts")
    ask = in_templates(params, networks, prompts, tmp_path / "texts")
    assert ask is not None
    generator = networks.load_generator("text")
    assert generator.max_text_tokens == 6
    with torch.no_grad():
        torch.testing.assert_close(negative["text"], generator.embed(["a green cube"])["text"])
        torch.testing.assert_close(embed(["ball"])["text"], generator.embed(["a ball"])["text"])
        seen: set[str] = set()
        for place in range(12):
            prompt = prompts[place % 3]
            text = phrased(templates, prompt, place, params.seed)
            seen |= {template for template in templates if template.replace("{prompt}", prompt) == text}
            torch.testing.assert_close(ask([prompt], [place])["text"], generator.embed([text])["text"])
    assert seen == set(templates)
    assert in_templates(AlignParams(**values()), networks, prompts, tmp_path / "texts") is None
    with pytest.raises(ValidationError, match=r"prompt template 'no place' must contain"):
        AlignParams(**values(prompt_templates=["no place"]))


@pytest.mark.usefixtures("weights")
def test_the_products_of_the_trunk_alone_are_cast() -> None:
    network = chosen(source="net", dtype="bfloat16", size=[8, 8]).load_reconstruction()
    assert network.input_size == (8, 8)
    half = [name for name, p in network.named_parameters() if p.dtype == torch.bfloat16]
    assert half
    assert all(name.startswith("aggregator.") and name.endswith(("weight", "bias")) for name in half)
    result = network.reconstruct(torch.rand(1, 2, 3, 16, 16))
    assert result.depth.shape == (1, 2, 8, 8)
    assert result.depth.dtype == torch.float32


def test_entries_of_generators_are_checked() -> None:
    entry = {"repo": "a/b", "stored": "float32", "licence": "MIT", "commercial": True}
    with pytest.raises(ValueError, match=r"weights\.yml: generators: net: unknown keys file"):
        KnownWeights.read({"generators": {"net": entry | {"file": "x"}}})
    with pytest.raises(ValueError, match=r"weights\.yml: generators: net: missing keys licence"):
        KnownWeights.read({"generators": {"net": {key: value for key, value in entry.items() if key != "licence"}}})

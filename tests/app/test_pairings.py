"""Every pairing of a generator and a 3D network: its overlay, and the stitch layer that follows."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import project_config
import pytest

from vist3a import registry
from vist3a.pairing import published_configs
from vist3a.stitching.grids import derive_spec
from vist3a.weights.known import KnownWeights
from vist3a_app.configuration import LayeredConfigLoader
from vist3a_app.pipelines.networks import Networks
from vist3a_app.settings import CONFIG_LOADER_ARGS

GENERATOR_NAMES = ("wan", "wan14b", "anyflow", "cogvideox", "hunyuan", "svd")
RECONSTRUCTION_NAMES = ("anysplat", "vggt", "da3", "mvdust3r")
PAIRINGS = [(g, r) for g in GENERATOR_NAMES for r in RECONSTRUCTION_NAMES]
STRIDES = {"wan": 4, "anyflow": 4, "cogvideox": 4, "hunyuan_video": 4, "svd": 1}


def parameters(generator: str, reconstruction: str) -> dict[str, Any]:
    return dict(project_config.loader("base", pair=f"{generator}+{reconstruction}")["parameters"])


@pytest.mark.parametrize(("generator", "reconstruction"), PAIRINGS)
def test_a_pairing_names_its_networks_and_the_stitch_layer_follows(generator: str, reconstruction: str) -> None:
    values = parameters(generator, reconstruction)
    known = KnownWeights.read()
    networks = values["networks"]
    assert networks["generator"]["family"] in registry.names("generators")
    assert networks["generator"]["source"] in known.generators
    entry = known.networks[networks["reconstruction"]["source"]]
    assert published_configs()[entry.config][0] == networks["reconstruction"]["family"]
    # VIST3A appendix B.1: what each network sees, and the layer between the two grids (autoencoders of stride 8).
    side, seen, kernel, stride, padding = {
        "mvdust3r": (384, 224, (5, 7, 7), (1, 3, 3), (2, 0, 0)),
    }.get(reconstruction, (512, 448, (5, 3, 3), (1, 2, 2), (2, 1, 1)))
    patch = 16 if reconstruction == "mvdust3r" else 14
    for group in ("curate", "align", "evaluate", "generate"):
        assert (values[group]["height"], values[group]["width"]) == (side, side)
        assert (values[group]["frames"] - 1) % STRIDES[networks["generator"]["family"]] == 0
    assert networks["reconstruction"]["size"] == [seen, seen]
    latents, tokens = side // 8, seen // patch
    spec = derive_spec((latents, latents), (tokens, tokens), 4, tuple(values["extract"]["kernel"]))
    assert (spec.kernel, spec.stride, spec.padding) == (kernel, stride, padding)
    assert (spec.resampled_rows, spec.resampled_columns) == (latents, latents)


def test_a_pairing_has_a_workspace_of_its_own() -> None:
    """Nothing that a run of a public pairing writes lies where the embedded one's results are; the embedded networks stay."""
    embedded = {entry["filepath"] for entry in project_config.catalog().values()}
    for pairing in ("wan+vggt", "svd+da3"):
        entries = dict(project_config.loader("base", pair=pairing)["catalog"])
        moved = {entry["filepath"] for name, entry in entries.items() if not name.startswith("embedded")}
        kept = {path for path in moved & embedded if "06_models/embedded" not in path}
        assert not kept
        assert all(path.startswith((f"data/{pairing}/", f"reports/{pairing}/")) for path in moved - embedded)


@pytest.mark.parametrize("preset", ["paper", "released"])
@pytest.mark.parametrize("environment", ["base", "gpu", "local"])
def test_pairing_preset_and_environment_compose(environment: str, preset: str) -> None:
    """The pairing lies over environments, the preset over the pairing, what is given over all."""
    given = {"pair": "wan+vggt", "preset": preset, "distill": {"lora_rank": 5}}
    values = dict(project_config.loader(environment, **given)["parameters"])
    plain = dict(project_config.loader("base", pair="wan+vggt", preset=preset)["parameters"])
    assert values["distill"]["lora_rank"] == 5
    assert values["networks"] == plain["networks"]
    assert values["align"]["loop"] == plain["align"]["loop"]
    assert {**values["distill"], "lora_rank": 0} == {**plain["distill"], "lora_rank": 0}


def test_what_this_machine_says_lies_over_a_pairing(tmp_path: Path) -> None:
    shutil.copytree(project_config.CONF, tmp_path / "conf")
    (tmp_path / "conf" / "local").mkdir(exist_ok=True)
    (tmp_path / "conf" / "local" / "parameters.yml").write_text("networks: {generator: {dtype: float16}}\n")
    (tmp_path / "conf" / "local" / "weights.yml").write_text("weights: {vggt-1b: {path: /copies/vggt.safetensors}}\n")
    loader = LayeredConfigLoader(str(tmp_path / "conf"), runtime_params={"pair": "wan+vggt"}, **CONFIG_LOADER_ARGS)
    networks = Networks(**loader["parameters"]["networks"])
    assert (networks.generator.dtype, networks.generator.source) == ("float16", "wan-1.3b")
    assert networks.known.networks["vggt-1b"].path == "/copies/vggt.safetensors"
    assert networks.known.networks["vggt-1b"].repo == "facebook/VGGT-1B"


def test_an_environment_of_earlier_versions_is_a_pairing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "vist3a_app"):
        old = project_config.loader("wan_vggt")
    assert caplog.messages == ["--env=wan_vggt is deprecated: write --params=pair=wan+vggt"]
    new = project_config.loader("base", pair="wan+vggt")
    assert old["parameters"] == new["parameters"]
    assert old["catalog"] == new["catalog"]


@pytest.mark.parametrize(
    ("pairing", "sentence"),
    [
        ("wan+vgt", r"pair: 'vgt' of wan\+vgt; allowed 3D networks: anysplat, da3, embedded, mvdust3r, vggt$"),
        (
            "van+vggt",
            r"pair: 'van' of van\+vggt; allowed generators: anyflow, cogvideox, embedded, hunyuan, svd, wan, wan14b$",
        ),
        ("wan_vggt", r"pair: 'wan_vggt'; allowed: GENERATOR\+NETWORK, as wan\+vggt$"),
        ("wan+", r"pair: 'wan\+'; allowed: GENERATOR\+NETWORK"),
    ],
)
def test_a_pairing_that_there_is_not_is_one_sentence(pairing: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        project_config.loader("base", pair=pairing)


def test_a_pairing_with_one_embedded_network_loads() -> None:
    for pairing in ("wan+embedded", "embedded+vggt", "embedded+embedded"):
        networks = Networks(**project_config.loader("base", pair=pairing)["parameters"]["networks"])
        generator, network = pairing.split("+")
        assert ("embedded" in networks.generator.source) == (generator == "embedded")
        assert ("embedded" in networks.reconstruction.source) == (network == "embedded")

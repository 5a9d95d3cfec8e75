"""Every pairing of a generator and a 3D network: its overlay, and the stitch layer that follows."""

from __future__ import annotations

from typing import Any

import project_config
import pytest

from vist3a import registry
from vist3a.pairing import published_configs
from vist3a.stitching.grids import derive_spec
from vist3a.weights.public import parse, parse_generators

GENERATOR_NAMES = ("wan", "wan14b", "cogvideox", "hunyuan", "svd")
RECONSTRUCTION_NAMES = ("anysplat", "vggt", "da3", "mvdust3r")
PAIRINGS = [(g, r) for g in GENERATOR_NAMES for r in RECONSTRUCTION_NAMES]
STRIDES = {"wan": 4, "cogvideox": 4, "hunyuan_video": 4, "svd": 1}


def parameters(generator: str, reconstruction: str) -> dict[str, Any]:
    return dict(project_config.loader(f"{generator}_{reconstruction}")["parameters"])


@pytest.mark.parametrize(("generator", "reconstruction"), PAIRINGS)
def test_an_overlay_names_its_networks_and_the_stitch_layer_follows(generator: str, reconstruction: str) -> None:
    values = parameters(generator, reconstruction)
    weights = project_config.loader("base")["weights"]
    networks = values["networks"]
    assert networks["generator"]["family"] in registry.names("generators")
    assert networks["generator"]["source"] in parse_generators(weights["generators"])
    entry = parse(weights["weights"])[networks["reconstruction"]["source"]]
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


def test_every_pairing_has_an_overlay() -> None:
    named = {f"{g}_{r}" for g, r in PAIRINGS}
    assert named <= set(project_config.environments())

"""Noise in the layer study: its figures are those of a search for that noise, and what is said follows from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import project_config
import pytest
import torch
from omegaconf import OmegaConf
from stitching.test_decoder import clips
from tiny_networks import tiny_generator, tiny_network

from vist3a.records import Clip
from vist3a.stitching.extract import TapConfig
from vist3a.stitching.functional_error import output_distance, sequential
from vist3a.stitching.layer_search import find_layer, search_clips
from vist3a_app.pipelines.extract.params import ExtractParams
from vist3a_app.pipelines.networks import Networks
from vist3a_app.pipelines.score.params import ScoreParams
from vist3a_lab.pipelines.layer_study.params import LayerStudyParams
from vist3a_lab.pipelines.layer_study.searching import search_for_noise
from vist3a_lab.procedural import WorldConfig
from vist3a_lab.studies.layer_study import render_clips
from vist3a_lab.studies.noise_study import FIRST, noise_statement, outputs_under_noise, r2_under_noise

CPU = torch.device("cpu")


def test_r2_is_that_of_searches_for_each_noise() -> None:
    data = clips(10)
    clean, fitted = (
        find_layer(tiny_generator(), tiny_network(), data, kernel=(1, 3, 3), ridges=(1e-3, 1e-1), noise=noise)
        for noise in (0.0, 0.5)
    )
    found = r2_under_noise(clean, {0.0: clean.solved, 0.5: fitted.solved})
    assert set(found) == {"0", "0.5"}
    for score, own in zip(clean.scores, fitted.scores, strict=True):
        assert found["0"]["fitted"][score.point] == found["0"]["clean_fit"][score.point]
        assert found["0"]["fitted"][score.point] == pytest.approx(score.r2_heldout, rel=1e-6)
        assert found["0.5"]["fitted"][score.point] == pytest.approx(own.r2_noisy, rel=1e-9)
        assert found["0.5"]["clean_fit"][score.point] != pytest.approx(own.r2_noisy, rel=1e-3)
    assert found["0.5"]["best"] == fitted.best.point and found["0"]["best"] == clean.best.point


def test_outputs_without_noise_are_those_of_the_decoders_and_noise_makes_them_worse() -> None:
    generator, network = tiny_generator(), tiny_network()
    shown = [
        Clip(f"c{i}", torch.rand(5, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(i)))
        for i in (0, 1)
    ]
    found = find_layer(generator, network, clips(10), kernel=(1, 3, 3), ridges=(1e-1,))
    decoders = {"stitched": found.decoder(tiny_network()).double()}
    none, much = (outputs_under_noise(generator, network, decoders, shown, share, 3, CPU) for share in (0.0, 1.0))
    assert list(none) == [FIRST, "stitched"]
    for name, value in output_distance(sequential(network, generator), network, shown, CPU).items():
        assert none[FIRST][name] == pytest.approx(value, rel=1e-6)
    assert much[FIRST]["points"] > none[FIRST]["points"]
    assert much["stitched"] != none["stitched"]
    assert outputs_under_noise(generator, network, decoders, shown[1:], 1.0, 3, CPU)[FIRST] != much[FIRST]


def group(kind: Any, name: str, **changes: Any) -> Any:
    return kind(**OmegaConf.to_container(OmegaConf.merge(project_config.loader("smoke")["parameters"][name], changes)))


def test_one_pass_gives_the_layers_of_a_search_for_every_noise() -> None:
    networks = group(Networks, "networks", device="cpu")
    if not Path(networks.generator.source, "vae").is_dir():
        pytest.skip("the embedded networks are not here; `make setup` fetches them from the repository")
    extract, score = group(ExtractParams, "extract", kinds=["encoder"]), group(ScoreParams, "score")
    made = render_clips(WorldConfig(7, frames=5), {"fit": 3, "selection": 1, "heldout": 2}, CPU)
    clean, solved = search_for_noise(networks, extract, score, made, (0.0, 0.5))
    for share, layers in solved.items():
        whole = search_clips(
            networks.load_generator("vae"), networks.load_reconstruction(), made.splits, made.frames.__getitem__,
            extract.part(TapConfig), kinds=extract.kinds, ridges=score.ridges, bias=score.bias, noise=share,
            batch=extract.batch, seed=score.seed,
        )  # fmt: skip
        for name, one in whole.solved.items():
            assert torch.equal(layers[name].layer.weight, one.layer.weight) and layers[name].ridge == one.ridge
        if share == 0:
            assert clean.scores == whole.scores


def test_what_is_said_of_the_best_layer() -> None:
    def seed(**best: str) -> dict[str, Any]:
        return {
            share: {"best": name, "best_clean_fit": "a"}
            for share, name in zip(("0", "0.26", "1"), best.values(), strict=True)
        }

    noise = {"1": seed(x="a", y="a", z="b"), "2": seed(x="a", y="c", z="b")}
    assert noise_statement(noise) == [
        "Of layers fitted for the noise the best entry is `a` without noise, and moves: at 26% to `c` in 1 of 2 sets of scenes; "
        "at 100% to `b` in 2 of 2 sets of scenes.",
        "Of layers fitted on clean latents the best entry is `a` without noise, and stays there up to noise of 100%.",
    ]


def test_the_first_share_is_none() -> None:
    with pytest.raises(ValueError, match=r"0\.1 comes first; allowed: 0"):
        group(LayerStudyParams, "layer_study", noise_shares=[0.1, 0.2])

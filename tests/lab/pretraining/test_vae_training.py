"""The loss of the embedded video autoencoder, term by term, and what a training of its decoder leaves as it is."""

from __future__ import annotations

import json
from pathlib import Path

import project_config
import pytest
import torch
from diffusers import AutoencoderKLWan
from omegaconf import OmegaConf
from pydantic import ValidationError

from vist3a_lab.pipelines.pretrain.nodes import train_vae
from vist3a_lab.pipelines.pretrain.params import PretrainParams, Vae
from vist3a_lab.pretraining.vae import VaeLossWeights, reconstruction_loss

NONE = {"l1": 0.0, "mse": 0.0, "gradient": 0.0, "color": 0.0, "kl": 0.0}


def test_the_color_of_whole_frames_counts_by_itself() -> None:
    target = torch.rand(2, 3, 5, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    light = torch.tensor([0.2, -0.1, 0.0, 0.0, 0.3], dtype=torch.float64)[:, None, None]
    loss, mse = reconstruction_loss(target + light, target, VaeLossWeights(**(NONE | {"color": 2.0})))
    assert float(loss) == pytest.approx(2 * 0.6 / 5)
    assert float(mse) == pytest.approx((0.04 + 0.01 + 0.09) / 5)
    # Errors that cancel within a frame are not of its color.
    checks = torch.ones(8, dtype=torch.float64)
    checks[::2] = -1
    loss, _ = reconstruction_loss(target + 0.1 * checks, target, VaeLossWeights(**(NONE | {"color": 2.0})))
    assert float(loss) == pytest.approx(0, abs=1e-12)
    loss, _ = reconstruction_loss(
        target + 0.1 * checks, target, VaeLossWeights(**(NONE | {"l1": 1.0, "gradient": 1.0}))
    )
    assert float(loss) == pytest.approx(0.1 + 0.2)


def test_a_decoder_alone_is_trained_from_a_start_only() -> None:
    common = {
        "seed": 0,
        "architecture": {},
        "bank": {"capacity": 4},
        "loop": {"steps": 1, "learning_rate": 1e-3},
        "batch": 2,
    }
    assert Vae(**common, start="generator", trained="decoder").trained == "decoder"
    with pytest.raises(ValidationError, match="trained: decoder needs a start"):
        Vae(**common, trained="decoder")


TINY = {
    "base_dim": 4, "z_dim": 4, "dim_mult": [1, 1, 1], "num_res_blocks": 1, "temperal_downsample": [True, True],
    "in_channels": 12, "out_channels": 12, "patch_size": 2, "scale_factor_temporal": 4, "scale_factor_spatial": 8,
}  # fmt: skip


@pytest.mark.parametrize("trained", ["decoder", "all"])
def test_a_training_of_the_decoder_leaves_encoder_and_statistics_as_they_are(tmp_path: Path, trained: str) -> None:
    torch.manual_seed(1)
    start = AutoencoderKLWan(**TINY, latents_mean=[0.1, 0.2, 0.3, 0.4], latents_std=[1.0, 2.0, 3.0, 4.0])
    start.save_pretrained(tmp_path / "start" / "vae")
    (tmp_path / "start" / "training.json").write_text(json.dumps({"seed": 7}))
    values = OmegaConf.to_container(OmegaConf.create(dict(project_config.loader("smoke")["parameters"])["pretrain"]))
    values |= {"device": "cpu", "frames": 5, "size": 16, "storage": "float32"}  # type: ignore[operator]
    values["vae"] |= {"start": str(tmp_path / "start"), "trained": trained, "architecture": TINY}  # type: ignore[index, call-overload, operator]
    save = train_vae(PretrainParams(**values), tmp_path)  # type: ignore[arg-type]
    (tmp_path / "made").mkdir()
    save(tmp_path / "made")
    made = AutoencoderKLWan.from_pretrained(tmp_path / "made")
    before, after = start.state_dict(), made.state_dict()
    changed = {name.split(".")[0] for name, value in before.items() if not torch.equal(value, after[name])}
    assert {"decoder", "post_quant_conv"} <= changed
    kept = trained == "decoder"
    assert ({"encoder", "quant_conv"} & changed == set()) == kept
    assert (list(made.config.latents_std) == [1.0, 2.0, 3.0, 4.0]) == kept
    assert (list(made.config.latents_mean) == [0.1, 0.2, 0.3, 0.4]) == kept
    assert json.loads((tmp_path / "made" / "training.json").read_text())["start"] == {"seed": 7}

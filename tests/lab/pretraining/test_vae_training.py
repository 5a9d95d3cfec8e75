"""The loss of the embedded video autoencoder, term by term, and what a training of its decoder leaves as it is."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from vist3a_lab.pipelines.pretrain.params import Vae
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

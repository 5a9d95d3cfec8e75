"""Noise of the stated size, the same for a seed whatever the batch, level, dtype."""

from __future__ import annotations

import pytest
import torch

from vist3a.metrics.latent_noise import add_latent_noise

ALPHA = 0.05


def latents(seed: int = 0) -> torch.Tensor:
    scale = torch.tensor([0.3, 1.0, 4.0])[:, None, None, None, None]
    return scale * torch.randn(3, 4, 5, 6, 7, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("norm_over", "axes"), [("clip", (1, 2, 3, 4)), ("frame", (1, 3, 4)), ("token", (1,))])
def test_noise_is_alpha_times_the_norm_times_standard_normal(norm_over, axes):
    z = latents()
    noise = add_latent_noise(z, ALPHA, [1, 2, 3], norm_over) - z
    eps = noise / (ALPHA * z.square().sum(axes, keepdim=True).sqrt())
    expected = torch.stack([torch.randn(4, 5, 6, 7, generator=torch.Generator().manual_seed(s)) for s in (1, 2, 3)])
    torch.testing.assert_close(eps, expected, atol=1e-3, rtol=1e-3)


def test_the_norm_of_a_clip_makes_the_deviation_grow_with_its_size():
    z = torch.ones(1, 16, 4, 8, 8)
    noise = add_latent_noise(z, 1e-2, [0]) - z
    assert noise.std().item() == pytest.approx(1e-2 * z.numel() ** 0.5, rel=0.05)


def test_a_sample_does_not_depend_on_its_batch_or_dtype_and_levels_share_their_noise():
    z = latents()
    whole = add_latent_noise(z, ALPHA, [1, 2, 3])
    torch.testing.assert_close(add_latent_noise(z[1:2], ALPHA, [2]), whole[1:2])
    torch.testing.assert_close(add_latent_noise(z, 2 * ALPHA, [1, 2, 3]) - z, 2 * (whole - z), atol=1e-4, rtol=1e-4)
    half = add_latent_noise(z.bfloat16(), ALPHA, [1, 2, 3])
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), whole, atol=0.1, rtol=0.02)
    assert torch.equal(add_latent_noise(z, 0.0, [1, 2, 3]), z)


def test_bad_input_is_one_sentence():
    with pytest.raises(ValueError, match="alpha is -1; at least 0"):
        add_latent_noise(latents(), -1.0, [1, 2, 3])
    with pytest.raises(ValueError, match="2 seeds for 3 latents"):
        add_latent_noise(latents(), 0.1, [1, 2])

"""PSNR, SSIM and sharpness against closed forms and a direct numpy computation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, laplace

from vist3a.metrics.image import psnr, sharpness, ssim


def direct_ssim(x: np.ndarray, y: np.ndarray) -> float:
    """SSIM of one channel, window by window."""
    r = np.arange(11) - 5
    w = np.exp(-(r[:, None] ** 2 + r[None] ** 2) / (2 * 1.5**2))
    w /= w.sum()
    scores = []
    for i in range(x.shape[0] - 10):
        for j in range(x.shape[1] - 10):
            a, b = x[i : i + 11, j : j + 11], y[i : i + 11, j : j + 11]
            ma, mb = (w * a).sum(), (w * b).sum()
            va, vb, cab = (w * (a - ma) ** 2).sum(), (w * (b - mb) ** 2).sum(), (w * (a - ma) * (b - mb)).sum()
            scores.append((2 * ma * mb + 1e-4) * (2 * cab + 9e-4) / ((ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4)))
    return float(np.mean(scores))


def test_psnr_closed_form_and_batch() -> None:
    image = torch.full((2, 4, 3, 8, 9), 0.5, dtype=torch.float64)
    offsets = torch.tensor([0.1, 0.01, 0.2, 0.5], dtype=torch.float64)
    value = psnr(image + offsets[None, :, None, None, None], image)
    torch.testing.assert_close(value, (-20 * torch.log10(offsets)).expand(2, 4))
    assert math.isinf(psnr(image[0, 0], image[0, 0]).item())


def test_ssim_equals_the_direct_computation() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(2, 3, 15, 18, generator=generator, dtype=torch.float64)
    y = (x + 0.2 * torch.randn(x.shape, generator=generator, dtype=torch.float64)).clamp(0, 1)
    expected = [np.mean([direct_ssim(x[b, c].numpy(), y[b, c].numpy()) for c in range(3)]) for b in range(2)]
    np.testing.assert_allclose(ssim(x, y).numpy(), expected, rtol=1e-10)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), height=st.integers(11, 40), width=st.integers(11, 40), level=st.floats(0, 0.5))
def test_ssim_and_psnr_equal_scipy(seed: int, height: int, width: int, level: float) -> None:
    """Gaussian filters of SciPy cut at 3.5 sigma (11 taps), borders cut off: the computation of scikit-image."""
    random = np.random.default_rng(seed)
    x = random.random((height, width))
    y = np.clip(x + level * random.normal(size=x.shape), 0, 1)

    def blur(values: np.ndarray) -> np.ndarray:
        return gaussian_filter(values, 1.5, truncate=3.5)

    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y, both = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2, blur(x * y) - mean_x * mean_y
    scores = (
        (2 * mean_x * mean_y + 1e-4) * (2 * both + 9e-4) / ((mean_x**2 + mean_y**2 + 1e-4) * (var_x + var_y + 9e-4))
    )
    ours, true = torch.from_numpy(x)[None], torch.from_numpy(y)[None]
    assert ssim(ours, true).item() == pytest.approx(scores[5:-5, 5:-5].mean(), abs=1e-10)
    error = np.mean((x - y) ** 2)
    assert psnr(ours, true).item() == (pytest.approx(-10 * np.log10(error)) if error else math.inf)


def test_ssim_and_psnr_equal_scikit_image() -> None:
    """Where it is installed; nothing here needs it."""
    metrics = pytest.importorskip("skimage.metrics")
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        image = torch.rand(3, 30 + seed, 25 + seed, generator=generator, dtype=torch.float64)
        other = (image + 0.1 * torch.randn(image.shape, generator=generator, dtype=torch.float64)).clamp(0, 1)
        x, y = (picture.permute(1, 2, 0).numpy() for picture in (image, other))
        assert float(psnr(image, other)) == pytest.approx(
            metrics.peak_signal_noise_ratio(x, y, data_range=1), rel=1e-12
        )
        expected = metrics.structural_similarity(
            x, y, gaussian_weights=True, use_sample_covariance=False, data_range=1, channel_axis=-1
        )
        assert float(ssim(image, other)) == pytest.approx(expected, abs=1e-12)


def test_ssim_is_one_for_equal_images_symmetric_and_differentiable() -> None:
    x, y = torch.rand(2, 3, 16, 16, dtype=torch.float64), torch.rand(2, 3, 16, 16, dtype=torch.float64)
    torch.testing.assert_close(ssim(x, x), torch.ones(2, dtype=torch.float64))
    torch.testing.assert_close(ssim(x, y), ssim(y, x))
    x.requires_grad_()
    ssim(x, y).sum().backward()
    assert torch.isfinite(x.grad).all()


def test_ssim_refuses_images_smaller_than_its_window() -> None:
    with pytest.raises(ValueError, match="11 x 11"):
        ssim(torch.rand(3, 10, 20), torch.rand(3, 10, 20))


def test_sharpness_equals_scipy_and_falls_with_blur() -> None:
    images = np.random.default_rng(3).random((2, 4, 3, 9, 12))
    expected = [[np.sqrt(np.mean(laplace(view.mean(0))[1:-1, 1:-1] ** 2)) for view in scene] for scene in images]
    np.testing.assert_allclose(sharpness(torch.from_numpy(images)).numpy(), expected, rtol=1e-12)
    soft = gaussian_filter(images, (0, 0, 0, 1, 1))
    assert bool((sharpness(torch.from_numpy(soft)) < sharpness(torch.from_numpy(images))).all())
    with pytest.raises(ValueError, match="at least 3 x 3 pixels, not 2 x 5"):
        sharpness(torch.zeros(3, 2, 5))


def test_the_smallest_pictures_have_one_place() -> None:
    """Where 3 x 3 pixels have one Laplacian and 11 x 11 one window: in closed form, and taken pixel by pixel."""
    picture = torch.zeros(3, 3, 3, dtype=torch.float64)
    picture[:, 1, 1], picture[:, 0, 1], picture[:, 0, 0] = 0.5, 0.25, 1.0
    assert sharpness(picture).item() == pytest.approx(4 * 0.5 - 0.25, rel=1e-12)
    random = np.random.default_rng(4)
    x, y = random.random((11, 11)), random.random((11, 11))
    assert ssim(torch.from_numpy(x)[None], torch.from_numpy(y)[None]).item() == pytest.approx(direct_ssim(x, y))
    with pytest.raises(ValueError, match="at least 3 x 3 pixels, not 5 x 2"):
        sharpness(torch.zeros(3, 5, 2))
    with pytest.raises(ValueError, match="11 x 11 pixels, not 20 x 10"):
        ssim(torch.zeros(3, 20, 10), torch.zeros(3, 20, 10))

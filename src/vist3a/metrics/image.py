"""Similarity and sharpness of images, RGB in [0, 1]."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

WINDOW = 11
SIGMA = 1.5


def psnr(
    image: Float[Tensor, "*batch channels height width"], target: Float[Tensor, "*batch channels height width"]
) -> Float[Tensor, "*batch"]:
    """Peak signal-to-noise ratio in dB for a peak of 1; infinite for equal images."""
    return -10 * torch.log10((image - target).square().mean(dim=(-3, -2, -1)))


def ssim(
    image: Float[Tensor, "*batch channels height width"], target: Float[Tensor, "*batch channels height width"]
) -> Float[Tensor, "*batch"]:
    """Structural similarity (Wang et al. 2004): 11 x 11 Gaussian window of sigma 1.5, K1 = 0.01, K2 = 0.03, range 1.

    Means over channels and over the positions where the window lies inside the image, population statistics, as
    scikit-image computes it with ``gaussian_weights=True, use_sample_covariance=False``.
    """
    height, width = image.shape[-2:]
    if min(height, width) < WINDOW:
        raise ValueError(f"SSIM needs images of at least {WINDOW} x {WINDOW} pixels, not {height} x {width}")
    # Every channel is an image of its own.
    x, y = image.flatten(0, -3)[:, None], target.flatten(0, -3)[:, None]
    offset = torch.arange(WINDOW, device=x.device, dtype=x.dtype) - WINDOW // 2
    weights = torch.exp(-0.5 * (offset / SIGMA) ** 2)
    weights = weights / weights.sum()

    def blur(values: Tensor) -> Tensor:
        # A Gaussian window is separable.
        return F.conv2d(F.conv2d(values, weights[None, None, None, :]), weights[None, None, :, None])

    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    covariance = blur(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    # With c3 = c2 / 2, contrast and structure are one factor.
    structure = (2 * covariance + c2) / (var_x + var_y + c2)
    return (luminance * structure).mean(dim=(-3, -2, -1)).reshape(image.shape[:-2]).mean(-1)


def sharpness(image: Float[Tensor, "*batch channels height width"]) -> Float[Tensor, "*batch"]:
    """Root mean square of the Laplacian (four neighbours, inside the image) of the mean channel, in units of brightness.

    The focus measure of Pech-Pacheco et al. (2000) under a root. Noise raises it as edges do. ValueError under 3 x 3 pixels.
    """
    if min(image.shape[-2:]) < 3:
        raise ValueError(f"sharpness needs at least 3 x 3 pixels, not {image.shape[-2]} x {image.shape[-1]}")
    grey = image.mean(-3)
    around = grey[..., :-2, 1:-1] + grey[..., 2:, 1:-1] + grey[..., 1:-1, :-2] + grey[..., 1:-1, 2:]
    return (around - 4 * grey[..., 1:-1, 1:-1]).square().mean(dim=(-2, -1)).sqrt()

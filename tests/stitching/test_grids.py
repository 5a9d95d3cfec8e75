"""Shapes of stitch layers, and patches against torch's own convolution."""

from __future__ import annotations

import pytest
import torch

from vist3a.stitching.grids import derive_spec, patches, resample_and_pad


def test_published_layers_follow_from_the_grids() -> None:
    """VIST3A appendix B.1: 512 px latents (64x64) to a 32x32 token grid use stride 2."""
    spec = derive_spec((64, 64), (32, 32), 4)
    assert (spec.kernel, spec.stride, spec.padding) == ((5, 3, 3), (1, 2, 2), (2, 1, 1))
    assert spec.views(4) == 13
    spec = derive_spec((48, 48), (14, 14), 4, (5, 7, 7))
    assert (spec.kernel, spec.stride, spec.padding) == ((5, 7, 7), (1, 3, 3), (2, 0, 0))
    assert (spec.resampled_rows, spec.resampled_columns) == (48, 48)


@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
@pytest.mark.parametrize("have", [4, 7, 8, 15, 16, 24, 33, 48, 64])
@pytest.mark.parametrize("want", [4, 7, 14, 16, 32])
def test_every_pair_of_grids_meets(have: int, want: int, kernel: int) -> None:
    spec = derive_spec((have, have), (want, want), 4, (3, kernel, kernel))
    x = patches(torch.zeros(1, 1, 2, have, have), spec)
    assert tuple(x.shape[1:4]) == (5, want, want)
    if have == want:
        assert (spec.resampled_rows, spec.padding[1]) == (have, kernel // 2)


def test_unequal_grids_are_resampled_first() -> None:
    spec = derive_spec((40, 64), (18, 32), 4)
    x = patches(torch.randn(1, 2, 3, 40, 64), spec)
    assert x.shape == (1, 9, 18, 32, 2 * 5 * 3 * 3)


@pytest.mark.parametrize("mode", ["zeros", "replicate"])
def test_patches_times_weight_is_the_convolution(mode: str) -> None:
    spec = derive_spec((8, 8), (4, 4), 4, (3, 3, 3), mode)
    latents = torch.randn(2, 5, 2, 8, 8, dtype=torch.float64)
    weight = torch.randn(7, 5, 3, 3, 3, dtype=torch.float64)
    expected = torch.nn.functional.conv3d(resample_and_pad(latents, spec), weight, stride=spec.stride).movedim(1, -1)
    torch.testing.assert_close(patches(latents, spec) @ weight.flatten(1).T, expected)


def test_even_kernels_are_refused() -> None:
    with pytest.raises(ValueError, match="every side must be odd"):
        derive_spec((8, 8), (8, 8), 4, (4, 3, 3))

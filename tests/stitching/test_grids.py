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


@pytest.mark.parametrize(
    ("latent", "tokens", "kernel", "stride", "padding", "cells"),
    [
        ((48, 48), (14, 14), (5, 7, 7), (1, 3, 3), (2, 0, 0), (48, 48)),  # VIST3A appendix B.1, MVDUSt3R
        ((64, 64), (32, 32), (5, 3, 3), None, None, (64, 64)),
        ((16, 16), (8, 8), (1, 2, 2), None, None, (16, 16)),  # patches of two cells
        ((8, 8), (8, 8), (3, 4, 4), None, (1, 1, 1), (9, 9)),
        ((40, 64), (18, 32), (5, 3, 3), None, (2, 0, 0), (37, 65)),
        (
            (40, 64),
            (18, 32),
            (5, 3, 3),
            None,
            None,
            (36, 64),
        ),  # rows do not fit: two cells per token, not the 35 that do
        ((8, 8), (8, 8), (3, 3, 3), (2, 1, 1), None, (8, 8)),
    ],
)
@pytest.mark.parametrize("interpolation", ["corners", "centres", "nearest"])
def test_every_layer_gives_one_token_per_place_and_view(
    latent, tokens, kernel, stride, padding, cells, interpolation
) -> None:
    spec = derive_spec(latent, tokens, 4, kernel, stride=stride, padding=padding, interpolation=interpolation)
    assert (spec.resampled_rows, spec.resampled_columns) == cells
    for times in (1, 2, 4):
        x = patches(torch.randn(1, 2, times, *latent), spec)
        assert x.shape == (1, spec.views(times), *tokens, 2 * kernel[0] * kernel[1] * kernel[2])


def test_interpolations_are_those_of_their_names() -> None:
    """A ramp over columns: its ends stay with aligned corners, and are cut to the range with aligned centres."""
    ramp = torch.arange(4.0).expand(1, 1, 1, 4, 4)
    expected = {
        "corners": torch.linspace(0, 3, 8),
        "centres": torch.tensor([0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3]),
        "nearest": torch.tensor([0.0, 0, 1, 1, 2, 2, 3, 3]),
    }
    for name, row in expected.items():
        spec = derive_spec((4, 4), (8, 8), 4, (1, 1, 1), interpolation=name)
        torch.testing.assert_close(resample_and_pad(ramp, spec)[0, 0, 0, 0], row)


def test_a_layer_that_sees_padding_only_is_refused() -> None:
    with pytest.raises(ValueError, match=r"kernel \(3, 3, 3\).*nothing but padding.*below \(kernel \+ 1\) / 2"):
        derive_spec((8, 8), (8, 8), 4, (3, 3, 3), padding=(2, 1, 1))


@pytest.mark.parametrize(
    ("side", "tokens", "kernel", "padding", "cells"),
    [
        (16, 8, 4, 1, 16),  # one cell beyond each patch of two
        (16, 8, 6, 2, 16),
        (12, 4, 6, 1, 13),  # three more cells cannot be halved: one is resampled
        (8, 8, 4, 1, 9),
        (16, 4, 2, 0, 16),  # gaps between the patches, and no negative padding
    ],
)
def test_even_kernels_are_padded_by_half_of_what_they_overlap(
    side: int, tokens: int, kernel: int, padding: int, cells: int
) -> None:
    """A kernel of k cells at stride s reaches k - s beyond its patch, half of it on each side."""
    spec = derive_spec((side, side), (tokens, tokens), 4, (1, kernel, kernel))
    assert spec.padding == (0, padding, padding)
    assert (spec.resampled_rows, spec.resampled_columns) == (cells, cells)
    assert tuple(patches(torch.zeros(1, 1, 1, side, side), spec).shape[2:4]) == (tokens, tokens)

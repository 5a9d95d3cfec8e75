"""From the latent grid of a video generator to the token grid of a reconstruction network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

PaddingMode = Literal["zeros", "replicate"]
Interpolation = Literal["corners", "centres", "nearest"]
Triple = tuple[int, int, int]


@dataclass(frozen=True)
class StitchSpec:
    """Shape of a stitch layer: latents are resampled to ``resampled_*`` cells, padded, then convolved.

    Sides are (time, rows, columns). Padding is explicit (``padding`` on both sides, in ``padding_mode``), in the fit and in the
    layer alike. ``interpolation`` is how latents are resampled where their grid is not the convolution's: trilinear with the
    ``corners`` of both grids aligned (as VIST3A does), trilinear with the ``centres`` of the cells aligned, or ``nearest``.
    """

    kernel: Triple
    stride: Triple
    padding: Triple
    padding_mode: PaddingMode
    resampled_rows: int
    resampled_columns: int
    temporal_stride: int
    interpolation: Interpolation = "corners"

    def views(self, times: int) -> int:
        """Number of views that ``times`` latent frames stand for (the first frame is encoded alone)."""
        return (times - 1) * self.temporal_stride + 1

    def resampled_times(self, times: int) -> int:
        """Slices that ``times`` latent frames are resampled to, so that the convolution gives one output per view."""
        return _input_side(self.views(times), self.kernel[0], self.stride[0], self.padding[0])


def derive_spec(
    latent: tuple[int, int],
    tokens: tuple[int, int],
    temporal_stride: int,
    kernel: Triple = (5, 3, 3),
    padding_mode: PaddingMode = "replicate",
    *,
    stride: Triple | None = None,
    padding: Triple | None = None,
    interpolation: Interpolation = "corners",
) -> StitchSpec:
    """Stitch layer from (rows, columns) of latents to (rows, columns) of tokens; what is None follows from the two grids.

    The stride is the rounded ratio of the grids (1 in time). The padding is what keeps the grid at stride 1 (odd kernels), or
    gives latents / stride tokens (even kernels); or the largest below it with which the latents as they are give exactly the
    token grid. Where none does, latents are resampled: to stride * tokens cells if that gives the grid, else to the fewest cells
    that do. VIST3A's own layers (appendix B.1) follow: 64 latents to 32 tokens with kernel 3, 48 to 14 with kernel 7 and no
    padding.
    """
    ratios = [max(1, round(have / want)) for have, want in zip(latent, tokens, strict=True)]
    strides = stride or (1, ratios[0], ratios[1])
    wanted = padding or _triple([_default_padding(k, s) for k, s in zip(kernel, strides, strict=True)])
    pads, sizes = [wanted[0]], []
    for axis, (have, want) in enumerate(zip(latent, tokens, strict=True), start=1):
        k, s, p = kernel[axis], strides[axis], wanted[axis]
        # A padding that was given is kept; else it may shrink until the latents fit as they are.
        allowed = [p] if padding else range(p, -1, -1)
        fitting = [(have, q) for q in allowed if (have + 2 * q - k) // s + 1 == want]
        # The last resort, resampled latents: first stride x tokens cells, then the fewest.
        fitting += [(s * want, p)] if (s * want + 2 * p - k) // s + 1 == want else [(_input_side(want, k, s, p), p)]
        sizes.append(fitting[0][0])
        pads.append(fitting[0][1])
    # Where no cell is left, some token would see padding alone.
    if min(*sizes, _input_side(1, kernel[0], strides[0], pads[0])) < 1:
        raise ValueError(
            f"stitch layer with kernel {kernel}, stride {strides}, padding {_triple(pads)}: nothing but padding is left under "
            "the kernel for some token; allowed are paddings below (kernel + 1) / 2"
        )
    return StitchSpec(kernel, strides, _triple(pads), padding_mode, sizes[0], sizes[1], temporal_stride, interpolation)


def resample_and_pad(
    latents: Float[Tensor, "batch channels times rows columns"], spec: StitchSpec
) -> Float[Tensor, "batch channels padded_t padded_h padded_w"]:
    """What the convolution sees: resampled, then padded."""
    size = (spec.resampled_times(latents.shape[2]), spec.resampled_rows, spec.resampled_columns)
    if tuple(latents.shape[2:]) != size:
        if spec.interpolation == "nearest":
            # Plain ``nearest`` of torch takes cells off their centers.
            latents = functional.interpolate(latents, size, mode="nearest-exact")
        else:
            aligned = spec.interpolation == "corners"
            latents = functional.interpolate(latents, size, mode="trilinear", align_corners=aligned)
    pt, ph, pw = spec.padding
    mode = "constant" if spec.padding_mode == "zeros" else spec.padding_mode
    # torch lists paddings from the last axis on.
    return functional.pad(latents, (pw, pw, ph, ph, pt, pt), mode=mode)


def patches(
    latents: Float[Tensor, "batch channels times rows columns"], spec: StitchSpec
) -> Float[Tensor, "batch views rows_out columns_out features"]:
    """Receptive fields of the stitch convolution, features ordered as ``Conv3d.weight[o].flatten()``."""
    x = resample_and_pad(latents, spec)
    for axis, (kernel, stride) in enumerate(zip(spec.kernel, spec.stride, strict=True)):
        # Every unfold appends an axis of one kernel side, here time, rows, columns.
        x = x.unfold(2 + axis, kernel, stride)
    return x.permute(0, 2, 3, 4, 1, 5, 6, 7).flatten(4)


def _input_side(outputs: int, kernel: int, stride: int, padding: int) -> int:
    """Fewest cells from which a convolution gives ``outputs``."""
    return stride * (outputs - 1) + kernel - 2 * padding


def _default_padding(kernel: int, stride: int) -> int:
    return kernel // 2 if kernel % 2 else max(0, (kernel - stride) // 2)


def _triple(values: list[int]) -> Triple:
    return values[0], values[1], values[2]

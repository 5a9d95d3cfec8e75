"""From the latent grid of a video generator to the token grid of a reconstruction network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

PaddingMode = Literal["zeros", "replicate"]


@dataclass(frozen=True)
class StitchSpec:
    """Shape of a stitch layer: latents are resampled to ``grid`` (time, rows, columns), then convolved.

    The convolution is applied after explicit padding of ``padding`` on both sides in ``padding_mode``, in the fit and in the
    layer alike.
    """

    kernel: tuple[int, int, int]
    stride: tuple[int, int, int]
    padding: tuple[int, int, int]
    padding_mode: PaddingMode
    resampled_rows: int
    resampled_columns: int
    temporal_stride: int

    def views(self, times: int) -> int:
        """Number of views that ``times`` latent frames stand for (the first frame is encoded alone)."""
        return (times - 1) * self.temporal_stride + 1


def derive_spec(
    latent: tuple[int, int],
    tokens: tuple[int, int],
    temporal_stride: int,
    kernel: tuple[int, int, int] = (5, 3, 3),
    padding_mode: PaddingMode = "replicate",
) -> StitchSpec:
    """Stitch layer from (rows, columns) of latents to (rows, columns) of tokens.

    The stride is the rounded ratio s of the two grids. If some padding, up to half the kernel, makes the convolution give
    exactly the token grid, the largest such padding is used on the latents as they are; otherwise latents are first resampled
    to s times the token grid and padded by half the kernel. Kernels must be odd. VIST3A's own layers (appendix B.1) follow for
    its sizes: 64 latents to 32 tokens with kernel 3, 48 to 14 with kernel 7 and no padding.
    """
    if any(k % 2 == 0 for k in kernel):
        raise ValueError(f"stitch kernel {kernel}: every side must be odd")
    strides, sizes, paddings = [], [], []
    for have, want, width in zip(latent, tokens, kernel[1:], strict=True):
        stride = max(1, round(have / want))
        fitting = [p for p in range(width // 2, -1, -1) if (have + 2 * p - width) // stride + 1 == want]
        strides.append(stride)
        sizes.append(have if fitting else stride * want)
        paddings.append(fitting[0] if fitting else width // 2)
    return StitchSpec(
        kernel=kernel,
        stride=(1, strides[0], strides[1]),
        padding=(kernel[0] // 2, paddings[0], paddings[1]),
        padding_mode=padding_mode,
        resampled_rows=sizes[0],
        resampled_columns=sizes[1],
        temporal_stride=temporal_stride,
    )


def resample_and_pad(
    latents: Float[Tensor, "batch channels times rows columns"], spec: StitchSpec
) -> Float[Tensor, "batch channels padded_t padded_h padded_w"]:
    """What the convolution sees: one slice per view (trilinear, corners aligned, as VIST3A does), resized, padded."""
    size = (spec.views(latents.shape[2]), spec.resampled_rows, spec.resampled_columns)
    if tuple(latents.shape[2:]) != size:
        latents = functional.interpolate(latents, size, mode="trilinear", align_corners=True)
    pt, ph, pw = spec.padding
    mode = "constant" if spec.padding_mode == "zeros" else spec.padding_mode
    return functional.pad(latents, (pw, pw, ph, ph, pt, pt), mode=mode)


def patches(
    latents: Float[Tensor, "batch channels times rows columns"], spec: StitchSpec
) -> Float[Tensor, "batch views rows_out columns_out features"]:
    """Receptive fields of the stitch convolution, features ordered as ``Conv3d.weight[o].flatten()``."""
    x = resample_and_pad(latents, spec)
    for axis, (kernel, stride) in enumerate(zip(spec.kernel, spec.stride, strict=True)):
        x = x.unfold(2 + axis, kernel, stride)
    return x.permute(0, 2, 3, 4, 1, 5, 6, 7).flatten(4)

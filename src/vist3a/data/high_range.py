"""Wide gamuts and high dynamic range to 8-bit sRGB, by the formulas of ITU-R BT.2100 and BT.2408.

White is what a sheet of paper gives: 75 % of the HLG signal, 203 cd/m2 of PQ (BT.2408, 5.2). Below a knee the result is the
sRGB picture of the same light, so that a scene looks as its SDR version does; highlights are bent to stay below 255. HLG states
light of the scene, which is taken as it is, without the rendering for a display that BT.2100 adds (its OOTF).
"""

from __future__ import annotations

from functools import cache

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

LINEAR, PQ, HLG = 8, 16, 18
"""Transfer characteristics by their numbers in ITU-T H.273; all others are taken as sRGB, which pictures are in."""
WIDE = {
    9: ((1.660491, -0.587641, -0.072850), (-0.124550, 1.132900, -0.008349), (-0.018151, -0.100579, 1.118730)),
    12: ((1.224940, -0.224940, 0.0), (-0.042057, 1.042057, 0.0), (-0.019638, -0.078636, 1.098274)),
}
"""Linear light of primaries (H.273: BT.2020, Display P3) to BT.709's, rows red, green, blue; all others are near BT.709."""
PAPER_WHITE = 203.0
KNEE = 0.9
"""Share of the sRGB signal above which highlights are bent."""


def needs_mapping(transfer: int, primaries: int) -> bool:
    """Whether colours of these numbers of H.273 are other than sRGB's in a way that shows."""
    return transfer in {LINEAR, PQ, HLG} or primaries in WIDE


def to_standard_range(
    signal: Int[Tensor, "rows columns 3"], largest: int, transfer: int, primaries: int
) -> UInt8[Tensor, "rows columns 3"]:
    """Red, green and blue of 0 .. ``largest`` (white of the coded range; up to 65535) as sRGB bytes."""
    light = _light_table(transfer, largest)[signal.long()]
    if primaries in WIDE:
        light = light @ torch.tensor(WIDE[primaries]).T
    # Colors outside the gamut of sRGB have come out negative.
    coded = _srgb(light.clamp(min=0))
    if transfer in {PQ, HLG}:
        # An exponential shoulder: value and slope continue at the knee, and 1 is only approached.
        bent = KNEE + (1 - KNEE) * (1 - torch.exp((KNEE - coded) / (1 - KNEE)))
        coded = torch.where(coded > KNEE, bent, coded)
    return (coded.clamp(max=1) * 255).round().to(torch.uint8)


@cache
def _light_table(transfer: int, largest: int) -> Float[Tensor, " values"]:
    """Linear light of every 16-bit value, white 1."""
    # Powers are taken once per value of the signal, not once per pixel.
    signal = (torch.arange(65536, dtype=torch.float64) / largest).clamp(max=1)
    if transfer == HLG:
        light = _hlg_scene_light(signal) / _hlg_scene_light(torch.tensor([0.75], dtype=torch.float64))
    elif transfer == PQ:
        light = _pq_display_light(signal) / PAPER_WHITE
    elif transfer == LINEAR:
        light = signal
    else:
        light = torch.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)
    return light.float()


def _hlg_scene_light(signal: Float[Tensor, " values"]) -> Float[Tensor, " values"]:
    """BT.2100, table 5: inverse OETF of HLG, 0 .. 1."""
    a = 0.17883277
    b, c = 0.28466892, 0.55991073
    return torch.where(signal <= 0.5, signal**2 / 3, (torch.exp((signal - c) / a) + b) / 12)


def _pq_display_light(signal: Float[Tensor, " values"]) -> Float[Tensor, " values"]:
    """BT.2100, table 4: EOTF of PQ in cd/m2."""
    m1, m2 = 2610 / 16384, 2523 / 4096 * 128
    c1, c2, c3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
    power = signal ** (1 / m2)
    return 10000 * ((power - c1).clamp(min=0) / (c2 - c3 * power)) ** (1 / m1)


def _srgb(light: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """IEC 61966-2-1, continued above 1."""
    return torch.where(light <= 0.0031308, 12.92 * light, 1.055 * light.clamp(min=1e-6) ** (1 / 2.4) - 0.055)

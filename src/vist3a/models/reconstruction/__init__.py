"""Feed-forward multi-view 3D networks that can be entered at any block."""

from vist3a.models.reconstruction.anysplat import ANYSPLAT, AnySplat, AnySplatConfig
from vist3a.models.reconstruction.base import ReconstructionModel
from vist3a.models.reconstruction.vggt import VGGT, VGGT_1B, VGGTConfig

__all__ = [
    "ANYSPLAT",
    "VGGT",
    "VGGT_1B",
    "AnySplat",
    "AnySplatConfig",
    "ReconstructionModel",
    "VGGTConfig",
]

"""Feed-forward multi-view 3D networks that can be entered at any block."""

from vist3a.networks.anysplat import ANYSPLAT, AnySplat, AnySplatConfig
from vist3a.networks.base import ReconstructionModel
from vist3a.networks.blocks.mvdust3r_config import MVDust3rConfig
from vist3a.networks.mvdust3r import MVDUST3R, MVDUST3R_PLUS, MVDust3r
from vist3a.networks.vggt import VGGT, VGGT_1B, VGGT_1B_TRACKER, VGGTConfig

__all__ = [
    "ANYSPLAT",
    "MVDUST3R",
    "MVDUST3R_PLUS",
    "VGGT",
    "VGGT_1B",
    "VGGT_1B_TRACKER",
    "AnySplat",
    "AnySplatConfig",
    "MVDust3r",
    "MVDust3rConfig",
    "ReconstructionModel",
    "VGGTConfig",
]

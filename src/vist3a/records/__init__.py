"""Frozen, shape-typed records that cross the borders between parts. Units and frames: CONVENTIONS.md."""

from vist3a.records.cameras import Cameras
from vist3a.records.clip import Clip
from vist3a.records.condition import Condition
from vist3a.records.exact_scenes import ExactScenes
from vist3a.records.gaussians import Gaussians
from vist3a.records.reconstruction import Reconstruction
from vist3a.records.rendering import Rendering
from vist3a.records.stitch_fit import LayerScore, StitchFit
from vist3a.records.token_state import FIRST_AND_OTHERS, ONE_ROLE, StitchPoint, TokenRoles, TokenState
from vist3a.records.tracks import Tracks

__all__ = [
    "FIRST_AND_OTHERS",
    "ONE_ROLE",
    "Cameras",
    "Clip",
    "Condition",
    "ExactScenes",
    "Gaussians",
    "LayerScore",
    "Reconstruction",
    "Rendering",
    "StitchFit",
    "StitchPoint",
    "TokenRoles",
    "TokenState",
    "Tracks",
]

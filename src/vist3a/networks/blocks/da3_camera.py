"""Cameras of Depth Anything 3: tokens of known cameras, cameras of predicted tokens, and the scale between the two.

Its nine-number encoding describes **camera to world**: translation, quaternion xyzw, vertical and horizontal field of view.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vist3a.geometry.pose_encoding import cameras_from_encoding, encoding_from_cameras
from vist3a.geometry.similarity import umeyama
from vist3a.networks.blocks.camera_head import POSE_SIZE
from vist3a.networks.blocks.da3_config import DepthAnything3Config
from vist3a.networks.blocks.transformer import Block, Mlp
from vist3a.records import Cameras

SMALLEST_DISTANCE = 0.1
SMALLEST_TANGENT = 1e-6


class CameraEncoder(nn.Module):
    """One token per view from its known camera; the views of a scene attend to each other."""

    def __init__(self, config: DepthAnything3Config) -> None:
        """Sizes from ``embed_dim`` and the ``camera_*`` fields of ``config``."""
        super().__init__()
        width = config.embed_dim
        self.pose_branch = Mlp(POSE_SIZE, width // 2, width)
        self.token_norm = nn.LayerNorm(width, eps=1e-5)
        self.trunk = nn.ModuleList(
            Block(width, config.camera_heads, 4.0, layer_scale_init=0.01) for _ in range(config.camera_depth)
        )
        self.trunk_norm = nn.LayerNorm(width, eps=1e-5)

    def forward(self, cameras: Cameras, size: tuple[int, int]) -> Float[Tensor, "batch views width"]:
        """Tokens of cameras [batch, views] of frames of ``size`` (height, width)."""
        # The record holds world to camera, the network was trained on the inverse.
        encoding = encoding_from_cameras(Cameras(cameras.camera_to_world, cameras.intrinsics), *size)
        with torch.autocast(encoding.device.type, enabled=False):
            x = self.token_norm(self.pose_branch(encoding.to(self.token_norm.weight.dtype)))
            for block in self.trunk:
                x = block(x)
            return self.trunk_norm(x)


class CameraDecoder(nn.Module):
    """Camera encoding of each view from the first token of the last tap."""

    def __init__(self, width: int) -> None:
        """``width`` is that of the tapped tokens."""
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.fc_t = nn.Linear(width, 3)
        self.fc_qvec = nn.Linear(width, 4)
        self.fc_fov = nn.Sequential(nn.Linear(width, 2), nn.ReLU())

    def start_at_identity(self) -> None:
        """Set the last biases so that an untrained head has no rotation and one radian of view."""
        with torch.no_grad():
            self.fc_qvec.bias.copy_(torch.tensor([0.0, 0.0, 0.0, 1.0]))
            self.fc_fov[0].get_parameter("bias").fill_(1.0)

    def forward(self, tokens: Float[Tensor, "batch views width"]) -> Float[Tensor, "batch views 9"]:
        """Encodings (camera to world); the quaternions are not normalised."""
        x = self.backbone(tokens.to(self.fc_t.weight.dtype))
        return torch.cat([self.fc_t(x), self.fc_qvec(x), self.fc_fov(x)], dim=-1)


def decoded_cameras(encoding: Float[Tensor, "batch views 9"], size: tuple[int, int]) -> Cameras:
    """Cameras of encodings (camera to world) for frames of ``size`` (height, width)."""
    # A rectified field of view may be 0, at which the focal length would be infinite.
    half = torch.tan(encoding[..., 7:] / 2).clamp(min=SMALLEST_TANGENT)
    inverse = cameras_from_encoding(torch.cat([encoding[..., :7], 2 * torch.atan(half)], dim=-1), *size)
    # ``inverse`` holds camera to world where the record expects world to camera.
    return Cameras(inverse.camera_to_world, inverse.intrinsics)


def normalise_cameras(cameras: Cameras) -> tuple[Cameras, Float[Tensor, " batch"]]:
    """Known cameras as the network was trained with them: in the first one's frame, over the median distance from it.

    The median is that of all views, the first with its 0 among them, and of two middle values the lower. The distance is at least
    0.1. So of three views or more the median becomes 1, if it was not below 0.1; **two views are always divided by 0.1**, however
    far apart they are, and so are views that all but stand still.

    Args:
        cameras: [batch, views], world to camera, in any unit.

    Returns:
        The cameras, and for each scene the distance that their translations were divided by.

    Example:
        >>> normalise_cameras(two_cameras_that_are_3_apart)[1]
        tensor([0.1000])
    """
    relative = cameras.relative_to_first()
    # As published, the case of two views included: the weights were trained with it.
    distance = relative.centers.norm(dim=-1).median(dim=-1).values.clamp(min=SMALLEST_DISTANCE)
    pose = relative.world_to_camera
    top = torch.cat([pose[..., :3, :3], pose[..., :3, 3:] / distance[:, None, None, None]], dim=-1)
    return Cameras(torch.cat([top, pose[..., 3:, :]], dim=-2), cameras.intrinsics), distance


@torch.no_grad()
def scale_to(predicted: Cameras, known: Cameras) -> Float[Tensor, " batch"]:
    """Factor of the similarity that best takes the predicted camera centres of each scene to the known ones.

    A single view says nothing about scale: 1.
    """
    if predicted.centers.shape[1] == 1:
        return torch.ones_like(predicted.centers[:, 0, 0])
    pairs = zip(predicted.centers, known.centers, strict=True)
    return torch.stack([umeyama(ours, theirs)[0] for ours, theirs in pairs])

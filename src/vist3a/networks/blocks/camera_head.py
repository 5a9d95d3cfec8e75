"""Iterative camera regression from one token per view."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vist3a.networks.blocks.config import TrunkConfig
from vist3a.networks.blocks.transformer import Block, Mlp

POSE_SIZE = 9
"""Translation (3), quaternion xyzw (4), vertical and horizontal field of view (2)."""


class CameraHead(nn.Module):
    """Refines a running pose encoding; each round sees the previous pose through an adaptive layer norm."""

    def __init__(self, config: TrunkConfig) -> None:
        """Sizes from the ``camera_*`` fields of ``config``; works at twice the trunk width."""
        super().__init__()
        width = 2 * config.embed_dim
        self.iterations = config.camera_iterations
        self.token_norm = nn.LayerNorm(width, eps=1e-5)
        self.empty_pose_tokens = nn.Parameter(torch.zeros(1, 1, POSE_SIZE))
        self.embed_pose = nn.Linear(POSE_SIZE, width)
        self.poseLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 3 * width))
        self.trunk = nn.ModuleList(
            Block(width, config.camera_heads, 4.0, layer_scale_init=config.aggregator_layer_scale_init)
            for _ in range(config.camera_depth)
        )
        self.trunk_norm = nn.LayerNorm(width, eps=1e-5)
        self.pose_branch = Mlp(width, width // 2, POSE_SIZE)

    def start_at_identity(self) -> None:
        """Set the last bias so that an untrained head ends near no rotation and one radian of view.

        A zero quaternion and a zero field of view, the alternative, have no camera and no gradient.
        """
        start = torch.tensor([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0])
        with torch.no_grad():
            # Every round adds its own answer, so that each contributes one part.
            self.pose_branch.fc2.bias.copy_(start / self.iterations)

    def forward(self, tokens: Float[Tensor, "batch views width"]) -> Float[Tensor, "iterations batch views 9"]:
        """Activated pose encodings after every round, from the camera tokens of the last aggregator depth."""
        tokens = self.token_norm(tokens)
        pose = self.empty_pose_tokens.expand(*tokens.shape[:2], -1)
        encodings = []
        for iteration in range(self.iterations):
            if iteration:
                # Every round is supervised by itself; no gradient runs back through the chain of poses.
                pose = pose.detach()
            shift, scale, gate = self.poseLN_modulation(self.embed_pose(pose)).chunk(3, dim=-1)
            # Adaptive layer norm as in DiT (Peebles and Xie, 2023): the pose gives shift, scale and gate.
            normed = F.layer_norm(tokens, tokens.shape[-1:], eps=1e-6)
            x = gate * (normed * (1 + scale) + shift) + tokens
            for block in self.trunk:
                x = block(x)
            delta = self.pose_branch(self.trunk_norm(x))
            pose = delta if iteration == 0 else pose + delta
            # Fields of view must not be negative; translations and quaternions may.
            encodings.append(torch.cat([pose[..., :7], F.relu(pose[..., 7:])], dim=-1))
        return torch.stack(encodings)

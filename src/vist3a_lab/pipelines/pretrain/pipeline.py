"""Procedural scenes -> embedded networks: autoencoder -> denoiser; reconstruction network, reward scorer, judge."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from vist3a_lab.pipelines.pretrain import nodes
from vist3a_lab.pipelines.pretrain.denoiser import train_denoiser


def create_pipeline(**_: object) -> Pipeline:
    """Five trainings, of which only the denoiser needs another one's result."""
    shared = ["params:pretrain", "pretrain_checkpoints"]
    return Pipeline(
        [
            Node(nodes.train_vae, shared, "embedded_vae", name="train_vae", tags="gpu"),
            Node(
                nodes.train_reconstruction, shared, "embedded_reconstruction", name="train_reconstruction", tags="gpu"
            ),
            Node(nodes.train_reward_scorer, shared, "embedded_reward_scorer", name="train_reward_scorer", tags="gpu"),
            Node(nodes.train_judge, shared, "embedded_judge", name="train_judge", tags="gpu"),
            Node(train_denoiser, [*shared, "embedded_vae"], "embedded_generator", name="train_denoiser", tags="gpu"),
        ]
    )

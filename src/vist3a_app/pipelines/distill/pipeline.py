"""stitch layer + clips -> stitched decoder."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from vist3a_app.pipelines.distill import nodes


def create_pipeline(**_: object) -> Pipeline:
    """One training run."""
    return Pipeline(
        [
            Node(
                nodes.distill_decoder,
                ["params:distill", "params:networks", "stitch_layer", "clips", "clip_index", "chain_checkpoints"],
                ["stitched_decoder", "distill_report"],
                name="distill_decoder",
                tags="gpu",
            )
        ]
    )

"""stitched decoder + clips -> aligned generator."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from vist3a_app.pipelines.align import nodes


def create_pipeline(**_: object) -> Pipeline:
    """One training run."""
    return Pipeline(
        [
            Node(
                nodes.align_generator,
                [
                    "params:align",
                    "params:networks",
                    "stitched_decoder",
                    "clips",
                    "clip_index",
                    "chain_checkpoints",
                    "text_embeddings",
                ],
                ["aligned_generator", "align_report", "align_history"],
                name="align_generator",
                tags="gpu",
            )
        ]
    )

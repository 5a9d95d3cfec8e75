"""prompts + stitched decoder + aligned generator -> assets."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from vist3a_app.pipelines.generate import nodes


def create_pipeline(**_: object) -> Pipeline:
    """One folder per prompt."""
    return Pipeline(
        [
            Node(
                nodes.generate_scenes,
                [
                    "params:generate",
                    "params:networks",
                    "params:workers",
                    "stitched_decoder",
                    "aligned_generator",
                    "generated_folder",
                    "text_embeddings",
                    "chain_checkpoints",
                ],
                ["generated_report", "generated_picture", "generated_viewers"],
                name="generate_scenes",
                tags="gpu",
            )
        ]
    )

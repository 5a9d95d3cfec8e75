"""prompts -> shortened generator."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from vist3a_app.pipelines.shorten import nodes


def create_pipeline(**_: object) -> Pipeline:
    """One training run."""
    return Pipeline(
        [
            Node(
                nodes.shorten_generator,
                ["params:shorten", "params:networks", "chain_checkpoints", "text_embeddings"],
                ["shortened_generator", "shorten_report", "shorten_history"],
                name="shorten_generator",
                tags="gpu",
            )
        ]
    )

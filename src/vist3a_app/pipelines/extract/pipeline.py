"""clips -> moments."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from vist3a_app.pipelines.extract import nodes


def create_pipeline(**_: object) -> Pipeline:
    """One pass over all clips."""
    return Pipeline(
        [
            Node(
                nodes.extract_moments,
                ["params:extract", "params:networks", "params:workers", "clips", "clip_index", "chain_checkpoints"],
                ["moments", "extract_report"],
                name="extract_moments",
                tags="gpu",
            )
        ]
    )

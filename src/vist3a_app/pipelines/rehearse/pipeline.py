"""names of published networks -> time and memory of every stage, on random weights."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from vist3a_app.pipelines.rehearse import nodes


def create_pipeline(**_: object) -> Pipeline:
    """One node: each stage starts from what the one before wrote."""
    return Pipeline(
        [
            Node(
                nodes.rehearse_pairing,
                [
                    "params:rehearse",
                    "params:networks",
                    "params:extract",
                    "params:distill",
                    "params:align",
                    "params:generate",
                    "rehearsal_folder",
                ],
                "rehearsal_report",
                name="rehearse_pairing",
                tags="gpu",
            )
        ]
    )

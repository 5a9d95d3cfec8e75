"""Stored embedded networks -> figures, contact sheets, model card."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from vist3a_lab.pipelines.validate_embedded import nodes
from vist3a_lab.pipelines.validate_embedded.card import write_card


def create_pipeline(**_: object) -> Pipeline:
    """Geometry, text, then the report and the model card."""
    shared = ["params:validate_embedded", "params:pretrain"]
    folders = ["embedded_generator", "embedded_reconstruction", "embedded_reward_scorer", "embedded_judge"]
    return Pipeline(
        [
            Node(
                nodes.measure_geometry,
                [*shared, "embedded_generator", "embedded_reconstruction"],
                ["embedded_geometry_figures", "embedded_geometry_sheet"],
                name="measure_embedded_geometry",
                tags="gpu",
            ),
            Node(
                nodes.measure_text,
                [*shared, "embedded_generator", "embedded_reward_scorer", "embedded_judge"],
                ["embedded_text_figures", "embedded_text_sheet"],
                name="measure_embedded_text",
                tags="gpu",
            ),
            Node(
                nodes.merge_figures,
                ["embedded_geometry_figures", "embedded_text_figures"],
                "validate_embedded_report",
                name="report_embedded",
            ),
            Node(
                write_card, [*shared, "validate_embedded_report", *folders], "embedded_card", name="describe_embedded"
            ),
        ]
    )

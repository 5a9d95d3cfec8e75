"""Seeds -> trained and measured parts -> report, page, picture."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from vist3a_lab.pipelines.claims import nodes
from vist3a_lab.pipelines.claims.page import claims_page


def create_pipeline(**_: object) -> Pipeline:
    """Measure, report, describe."""
    return Pipeline(
        [
            Node(
                nodes.measure_claims,
                [
                    "params:claims",
                    "params:distill",
                    "params:align",
                    "params:evaluate",
                    "params:networks",
                    "stitch_layer",
                    "clips",
                    "clip_index",
                    "chain_checkpoints",
                    "text_embeddings",
                ],
                "claims_figures",
                name="measure_claims",
            ),
            Node(
                nodes.report_claims,
                [
                    "params:claims",
                    "params:distill",
                    "params:align",
                    "params:networks",
                    "claims_figures",
                    "published_layer_study",
                ],
                ["claims_report", "claims_noise_plot"],
                name="report_claims",
            ),
            Node(claims_page, "claims_report", "claims_page", name="describe_claims"),
            Node(nodes.forget_parts, ["claims_page", "chain_checkpoints"], None, name="forget_claims_parts"),
        ]
    )

"""Seeds and variants -> trained and measured parts -> report, page, picture."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from vist3a_lab.pipelines.alignment_study import nodes
from vist3a_lab.pipelines.alignment_study.page import alignment_page


def create_pipeline(**_: object) -> Pipeline:
    """Measure, report, describe."""
    return Pipeline(
        [
            Node(
                nodes.measure_variants,
                [
                    "params:alignment_study",
                    "params:align",
                    "params:networks",
                    "stitched_decoder",
                    "clips",
                    "clip_index",
                    "chain_checkpoints",
                    "text_embeddings",
                ],
                "alignment_study_figures",
                name="measure_alignments",
            ),
            Node(
                nodes.report_variants,
                ["params:alignment_study", "params:align", "params:networks", "alignment_study_figures"],
                ["alignment_study_report", "alignment_study_frontier"],
                name="report_alignments",
            ),
            Node(alignment_page, "alignment_study_report", "alignment_study_page", name="describe_alignments"),
            Node(
                nodes.forget_parts,
                ["alignment_study_page", "chain_checkpoints"],
                None,
                name="forget_alignment_parts",
            ),
        ]
    )

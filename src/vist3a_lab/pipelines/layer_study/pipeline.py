"""Procedural scenes -> layer searches, distilled points, kinds of latents, noise -> report, page, picture."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from vist3a_lab.pipelines.layer_study import nodes
from vist3a_lab.pipelines.layer_study.page import study_page


def create_pipeline(**_: object) -> Pipeline:
    """Search, distil, compare, report."""
    shared = ["params:layer_study", "params:networks"]
    fitting = ["params:extract", "params:score"]
    return Pipeline(
        [
            Node(nodes.render_scenes, shared, "study_clips", name="render_study_scenes"),
            Node(
                nodes.search_layers,
                [*shared, *fitting, "study_clips"],
                ["study_curves", "study_layers", "study_noise_fits"],
                name="search_study_layers",
            ),
            Node(
                nodes.distil_points,
                [*shared, "study_clips", "study_curves", "study_layers"],
                "study_rows",
                name="distil_study_points",
            ),
            Node(
                nodes.decode_under_noise,
                [*shared, "study_clips", "study_layers", "study_noise_fits"],
                "study_noise",
                name="decode_study_noise",
            ),
            Node(
                nodes.compare_latents, [*shared, *fitting, "study_clips"], "study_latents", name="compare_study_latents"
            ),
            Node(
                nodes.report_study,
                [*shared, "study_curves", "study_rows", "study_latents", "study_noise"],
                ["layer_study_report", "layer_study_plot"],
                name="report_study",
            ),
            Node(study_page, "layer_study_report", "layer_study_page", name="describe_study"),
        ]
    )

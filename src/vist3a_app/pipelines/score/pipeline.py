"""moments, held-out clips -> scores -> stitch layer."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from vist3a_app.pipelines.score import nodes


def create_pipeline(**_: object) -> Pipeline:
    """Fit and rank all points, then look at the outputs of the best."""
    return Pipeline(
        [
            Node(
                nodes.score_layers,
                ["params:score", "params:networks", "moments", "clips", "clip_index"],
                ["layer_scores", "stitch_fits", "score_table"],
                name="score_layers",
                tags="gpu",
            ),
            Node(
                nodes.compare_outputs,
                ["params:score", "params:networks", "layer_scores", "stitch_fits", "moments", "clips", "clip_index"],
                ["score_report", "stitch_layer", "score_curve", "score_page"],
                name="compare_outputs",
                tags="gpu",
            ),
        ]
    )

"""decoder, generator, clips, prompts -> one report."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from vist3a_app.pipelines.evaluate import nodes


def create_pipeline(**_: object) -> Pipeline:
    """Geometry and films of held-out clips, then generation on held-out prompts."""
    return Pipeline(
        [
            Node(
                nodes.measure_geometry,
                [
                    "params:evaluate",
                    "params:networks",
                    "stitch_layer",
                    "stitched_decoder",
                    "clips",
                    "clip_index",
                ],
                "geometry_metrics",
                name="measure_geometry",
                tags="gpu",
            ),
            Node(
                nodes.measure_clip_films,
                ["params:evaluate", "params:networks", "clips", "clip_index"],
                "clip_films",
                name="measure_clip_films",
                tags="gpu",
            ),
            Node(
                nodes.measure_generation,
                [
                    "params:evaluate",
                    "params:align",
                    "params:networks",
                    "params:workers",
                    "stitched_decoder",
                    "aligned_generator",
                    "geometry_metrics",
                    "clip_films",
                    "text_embeddings",
                    "chain_checkpoints",
                ],
                ["evaluate_report", "evaluate_sheet"],
                name="measure_generation",
                tags="gpu",
            ),
        ]
    )

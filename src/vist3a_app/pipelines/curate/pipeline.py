"""Source -> clips -> index with splits and hashes, quarantine with reasons, report and contact sheet."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from vist3a_app.pipelines.curate import nodes


def create_pipeline(**_: object) -> Pipeline:
    """Clips first; the report and the sheet describe what was kept."""
    return Pipeline(
        [
            Node(
                nodes.gather_clips,
                ["params:curate", "params:networks.generator.family", "params:workers", "chain_checkpoints"],
                ["clips", "clip_index", "quarantine"],
                name="gather_clips",
                tags="gpu",
            ),
            Node(
                nodes.report_clips,
                ["params:curate", "clip_index", "quarantine"],
                "curate_report",
                name="report_clips",
            ),
            Node(nodes.draw_clips, ["clips", "clip_index"], "clip_sheet", name="draw_clips"),
        ]
    )

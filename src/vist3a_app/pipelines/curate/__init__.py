"""Raw videos and image folders, or the procedural world, to checked clips and their index."""

from vist3a_app.pipelines.curate.pipeline import create_pipeline

__all__ = ["create_pipeline"]

"""The score pipeline."""

from vist3a_app.pipelines.score.pipeline import create_pipeline

__all__ = ["create_pipeline"]

"""The align pipeline."""

from vist3a_app.pipelines.align.pipeline import create_pipeline

__all__ = ["create_pipeline"]

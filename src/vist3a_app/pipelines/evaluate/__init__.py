"""The evaluate pipeline."""

from vist3a_app.pipelines.evaluate.pipeline import create_pipeline

__all__ = ["create_pipeline"]

"""The extract pipeline."""

from vist3a_app.pipelines.extract.pipeline import create_pipeline

__all__ = ["create_pipeline"]

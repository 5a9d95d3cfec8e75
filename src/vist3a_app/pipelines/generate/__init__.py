"""The generate pipeline."""

from vist3a_app.pipelines.generate.pipeline import create_pipeline

__all__ = ["create_pipeline"]

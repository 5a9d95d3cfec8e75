"""The distill pipeline."""

from vist3a_app.pipelines.distill.pipeline import create_pipeline

__all__ = ["create_pipeline"]

"""The rehearse pipeline."""

from vist3a_app.pipelines.rehearse.pipeline import create_pipeline

__all__ = ["create_pipeline"]

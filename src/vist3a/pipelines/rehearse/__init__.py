"""The rehearse pipeline."""

from vist3a.pipelines.rehearse.pipeline import create_pipeline

__all__ = ["create_pipeline"]

"""The extract pipeline."""

from vist3a.pipelines.extract.pipeline import create_pipeline

__all__ = ["create_pipeline"]

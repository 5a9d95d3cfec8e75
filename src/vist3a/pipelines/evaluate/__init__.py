"""The evaluate pipeline."""

from vist3a.pipelines.evaluate.pipeline import create_pipeline

__all__ = ["create_pipeline"]

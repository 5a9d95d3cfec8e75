"""The alignment study pipeline."""

from vist3a.pipelines.alignment_study.pipeline import create_pipeline

__all__ = ["create_pipeline"]

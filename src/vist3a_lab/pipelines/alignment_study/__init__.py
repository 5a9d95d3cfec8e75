"""The alignment study pipeline."""

from vist3a_lab.pipelines.alignment_study.pipeline import create_pipeline

__all__ = ["create_pipeline"]

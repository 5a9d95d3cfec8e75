"""The layer study pipeline."""

from vist3a_lab.pipelines.layer_study.pipeline import create_pipeline

__all__ = ["create_pipeline"]

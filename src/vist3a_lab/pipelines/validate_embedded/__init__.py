"""Measures the embedded networks as they are stored."""

from vist3a_lab.pipelines.validate_embedded.pipeline import create_pipeline

__all__ = ["create_pipeline"]

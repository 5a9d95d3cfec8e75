"""The claims pipeline."""

from vist3a_lab.pipelines.claims.pipeline import create_pipeline

__all__ = ["create_pipeline"]

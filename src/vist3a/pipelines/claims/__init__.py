"""The claims pipeline."""

from vist3a.pipelines.claims.pipeline import create_pipeline

__all__ = ["create_pipeline"]

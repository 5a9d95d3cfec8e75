"""Trains the embedded networks on the procedural world."""

from vist3a.pipelines.pretrain.pipeline import create_pipeline

__all__ = ["create_pipeline"]

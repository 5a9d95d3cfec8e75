"""Trains the embedded networks on the procedural world."""

from vist3a_lab.pipelines.pretrain.pipeline import create_pipeline

__all__ = ["create_pipeline"]

"""Text-image scorers: the embedded world's stand-ins for CLIP-like and preference models."""

from vist3a_lab.scorers.dual_encoder import DualEncoder, DualEncoderConfig

__all__ = ["DualEncoder", "DualEncoderConfig"]

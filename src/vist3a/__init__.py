"""vist3a: text-to-3D by stitching a multi-view reconstruction network to a video generator."""

__version__ = "0.1.0"

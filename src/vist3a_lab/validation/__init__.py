"""Held-out figures of the embedded networks: geometry against the procedural world's truth, text through a judge."""

from vist3a_lab.validation.geometry import GeometryFigures, measure_geometry
from vist3a_lab.validation.text import TextFigures, measure_retrieval, measure_text

__all__ = ["GeometryFigures", "TextFigures", "measure_geometry", "measure_retrieval", "measure_text"]

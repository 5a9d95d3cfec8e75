"""Kinds of numbers in settings.

A settings class is a frozen dataclass beside the function or class that it configures. The bounds are part of its types: whoever
reads configuration (the application does, by pydantic) refuses what lies outside, and the library itself needs nothing for it.
"""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt

Count = Annotated[int, Ge(0)]
Positive = Annotated[int, Gt(0)]
NotNegative = Annotated[float, Ge(0)]
PositiveFloat = Annotated[float, Gt(0)]
Fraction = Annotated[float, Ge(0), Le(1)]
"""A part of a whole, both ends included."""
BelowOne = Annotated[float, Ge(0), Lt(1)]
"""A share that leaves something for the rest."""
Guidance = Annotated[float, Ge(1)]
"""Classifier-free guidance; 1 is none."""

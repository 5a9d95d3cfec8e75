"""Names of everything that a scene can contain, and the numbers behind them (colours are display values in [0, 1])."""

from __future__ import annotations

SHAPES = ("sphere", "cube", "cylinder", "cone")
COLOURS = ("red", "green", "blue", "yellow", "purple", "orange", "white", "black")
SIZES = ("small", "medium", "large")
FINISHES = ("plain", "striped", "checkered", "shiny")
GROUNDS = ("wooden", "stone", "sandy", "grassy", "brick", "tiled")
BACKGROUNDS = ("blue sky", "sunset sky", "night sky", "cloudy sky", "white room", "warm room")
RELATIONS = ("left", "right", "front", "behind")
"""Relation of a subject to an object as the first camera sees them."""

MAX_OBJECTS = 3
PAIRS = ((0, 1), (0, 2), (1, 2))

COUNT_PROBABILITY = (0.45, 0.33, 0.22)
FINISH_PROBABILITY = (0.46, 0.16, 0.16, 0.22)
HALF_SIZE = (0.44, 0.64, 0.88)
COUNT_SCALE = (1.0, 0.86, 0.78)
"""Objects shrink a little when there are more, so that the camera can stay close and inside the room."""

ALBEDO = (
    (0.84, 0.09, 0.09),
    (0.11, 0.62, 0.17),
    (0.10, 0.22, 0.86),
    (0.96, 0.85, 0.10),
    (0.50, 0.12, 0.70),
    (1.00, 0.47, 0.04),
    (0.95, 0.95, 0.95),
    (0.06, 0.06, 0.07),
)

# By shape, in the order of ``SHAPES``, and in half-sizes of the object.
RADIUS_FACTOR = (1.0, 0.82, 0.72, 0.95)
HEIGHT_FACTOR = (2.0, 1.64, 1.90, 2.10)
FOOTPRINT_FACTOR = (1.0, 1.16, 0.72, 0.95)
"""Circumscribed radius on the ground, in half-sizes."""
BOTTOM_SPREAD = (0.75, 1.0, 1.0, 1.0)
TOP_SPREAD = (0.75, 1.0, 1.0, 0.15)
"""Share of the footprint that the outline keeps at the bottom and at the top (used to frame the objects)."""

GROUND_FIELDS = (
    "cell_x", "cell_y", "row_shift", "joint_width", "joint_amount", "cell_amount",
    "noise_x", "noise_y", "noise_amount", "ripple_amount", "checker_amount",
)  # fmt: skip
GROUND_PATTERN = (
    # cell x, cell y, shift, joint width, joint, cell, noise x, noise y, noise, ripple, checker
    (3.2, 0.55, 0.37, 0.035, 0.30, 0.075, 0.25, 1.6, 0.035, 0.0, 0.0),
    (1.5, 1.1, 0.50, 0.050, 0.22, 0.060, 0.60, 0.6, 0.040, 0.0, 0.0),
    (1.0, 1.0, 0.00, 0.020, 0.00, 0.000, 0.30, 0.4, 0.035, 0.035, 0.0),
    (1.0, 1.0, 0.00, 0.020, 0.00, 0.000, 0.80, 0.7, 0.100, 0.0, 0.0),
    (1.10, 0.50, 0.50, 0.050, -0.20, 0.050, 0.50, 0.5, 0.020, 0.0, 0.0),
    (1.0, 1.0, 0.00, 0.020, 0.10, 0.000, 0.30, 0.3, 0.010, 0.0, 0.12),
)
"""One row per ground: lattice in world units, joint darkening (negative: lighter), noise in cycles per unit."""
GROUND_COLOUR = (
    (0.63, 0.42, 0.24),
    (0.55, 0.56, 0.58),
    (0.90, 0.79, 0.55),
    (0.30, 0.58, 0.20),
    (0.66, 0.29, 0.22),
    (0.70, 0.84, 0.88),
)

HORIZON = (
    (0.70, 0.86, 0.98),
    (1.00, 0.60, 0.28),
    (0.10, 0.13, 0.30),
    (0.80, 0.82, 0.84),
    (0.93, 0.93, 0.94),
    (0.93, 0.72, 0.54),
)
ZENITH = (
    (0.20, 0.48, 0.92),
    (0.42, 0.22, 0.50),
    (0.02, 0.03, 0.10),
    (0.52, 0.55, 0.60),
    (0.98, 0.98, 0.98),
    (0.97, 0.86, 0.72),
)
"""Colours of the dome near the ground and high up; of the walls and the ceiling in rooms."""
CLOUD_AMOUNT = (0.0, 0.10, 0.0, 0.55, 0.0, 0.0)
GLOW_AMOUNT = (0.0, 0.45, 0.0, 0.0, 0.0, 0.0)
IS_ROOM = (0.0, 0.0, 0.0, 0.0, 1.0, 1.0)
SUN_COLOUR = (
    (0.60, 0.58, 0.53),
    (0.56, 0.43, 0.34),
    (0.36, 0.38, 0.43),
    (0.28, 0.28, 0.28),
    (0.42, 0.42, 0.42),
    (0.44, 0.40, 0.34),
)
AMBIENT_COLOUR = (
    (0.58, 0.59, 0.61),
    (0.64, 0.57, 0.57),
    (0.48, 0.49, 0.53),
    (0.76, 0.77, 0.78),
    (0.68, 0.68, 0.69),
    (0.69, 0.64, 0.58),
)
"""Strong ambient light keeps the averted side of a yellow or orange object from turning olive or brown."""

DOME_RADIUS = 8.0
ROOM_HALF_SIZE = 4.8
ROOM_HEIGHT = 4.4

"""A full-size run of one step of every stage on random weights: time and memory before anything is downloaded."""

from vist3a_app.rehearsal.run import STAGES, Pairing, Rehearsal, rehearse
from vist3a_app.rehearsal.stages import Shapes
from vist3a_app.rehearsal.table import as_table

__all__ = ["STAGES", "Pairing", "Rehearsal", "Shapes", "as_table", "rehearse"]

"""vist3a: text-to-3D by stitching a multi-view reconstruction network to a video generator."""

import os

# Spinning OpenMP threads slow convolutions tenfold on a busy machine. The OpenMP library reads this once, when torch is first
# imported, so it has to stand before any module of ours; a value of the user's is kept.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"

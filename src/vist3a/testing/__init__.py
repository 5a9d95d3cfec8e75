"""Conformance kits: whether a part of one's own keeps its contract. None needs a test framework."""

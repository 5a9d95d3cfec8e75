"""Trains the embedded networks on the procedural world."""

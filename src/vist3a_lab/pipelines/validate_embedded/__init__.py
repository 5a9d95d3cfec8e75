"""Measures the embedded networks as they are stored."""

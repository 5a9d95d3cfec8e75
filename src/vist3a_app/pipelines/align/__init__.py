"""The align pipeline."""

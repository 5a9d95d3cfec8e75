"""The score pipeline."""

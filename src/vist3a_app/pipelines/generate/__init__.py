"""The generate pipeline."""

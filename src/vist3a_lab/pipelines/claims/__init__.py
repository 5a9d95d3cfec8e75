"""The claims pipeline."""

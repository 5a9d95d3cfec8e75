"""The shorten pipeline."""

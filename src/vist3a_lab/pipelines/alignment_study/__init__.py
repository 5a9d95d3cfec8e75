"""The alignment study pipeline."""

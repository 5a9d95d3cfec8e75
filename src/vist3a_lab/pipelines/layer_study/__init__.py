"""The layer study pipeline."""

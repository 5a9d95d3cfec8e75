"""The extract pipeline."""

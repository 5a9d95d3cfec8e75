"""The rehearse pipeline."""

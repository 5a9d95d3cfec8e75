"""The distill pipeline."""

"""What happens around a pipeline: the record of the run, reproducibility, and checks before anything starts."""

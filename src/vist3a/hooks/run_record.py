"""Placeholder until tracking lands."""
class RunRecord:
    pass

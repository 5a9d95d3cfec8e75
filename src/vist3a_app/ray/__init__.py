"""``kedro run --runner=vist3a_app.ray.RayRunner``: every node a task of a Ray cluster."""

from vist3a_app.ray.runner import RayRunner

__all__ = ["RayRunner"]

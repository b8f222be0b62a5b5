"""What no router can exceed, and what one that knew everything did reach."""

from sage.benchmark.bounds.bound import Bound, bound

__all__ = ["Bound", "bound"]

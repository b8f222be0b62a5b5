"""What no router can exceed, and what one that knew everything did reach."""

from sage.benchmark.bounds.bound import Bound, bound
from sage.benchmark.bounds.reference import Reference, reference

__all__ = ["Bound", "Reference", "bound", "reference"]

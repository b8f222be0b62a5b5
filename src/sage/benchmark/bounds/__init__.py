"""What no router can exceed, and what one that knew everything did reach."""

from sage.benchmark.bounds.bound import Bound, bound
from sage.benchmark.bounds.reference import Reference, reference
from sage.benchmark.bounds.standing import Standing, check_bounded, stand

__all__ = ["Bound", "Reference", "Standing", "bound", "check_bounded", "reference", "stand"]

"""What is to happen at which moment of simulated time."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

NEVER = float("inf")

Handler = Callable[[float, Any], None]


class Events:
    """A queue by moment; what was put in first goes first among equals.

    Attributes:
        queue: (moment, number, handler, what it is about), as a heap.
    """

    __slots__ = ("_number", "queue")

    def __init__(self) -> None:
        self._number = 0
        self.queue: list[tuple[float, int, Handler, Any]] = []

    def at(self, moment: float, handle: Handler, about: Any) -> None:
        """Let ``handle(moment, about)`` be called at a moment, in seconds."""
        self._number += 1
        heapq.heappush(self.queue, (moment, self._number, handle, about))

"""A route that measures how many requests are under way at once."""

from __future__ import annotations

import threading
from collections.abc import Callable

from tests.inference.client.conftest import Answer, Seen

# Seconds in which one request too many would come.
GRACE = 0.2


class Busy:
    """Holds the first requests until ``full`` of them are there, and a moment longer.

    Args:
        full: as many as may be under way.
        answer: what is said in the end.
    """

    def __init__(self, full: int, answer: Callable[[Seen], Answer]) -> None:
        self.full = full
        self.most = self.now = 0
        self._answer = answer
        self._lock = threading.Lock()
        self._all = threading.Event()
        self._too_many = threading.Event()

    def __call__(self, seen: Seen) -> Answer:
        with self._lock:
            first = self.most < self.full
            self.now += 1
            self.most = max(self.most, self.now)
            if self.now == self.full:
                self._all.set()
            if self.now > self.full:
                self._too_many.set()
        assert self._all.wait(20), "not as many requests came as may be under way"
        if first:
            self._too_many.wait(GRACE)
        with self._lock:
            self.now -= 1
        return self._answer(seen)

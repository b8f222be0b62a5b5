"""Records that were given up, with the reason."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# So many are kept for the result; a job with a sink of its own for them keeps none.
KEPT = 10_000


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record on which an operator failed for good.

    Attributes:
        record: the record.
        error: what the last attempt raised.
        attempts: how often it was tried.
        operator: the operator's name.
        time: seconds since the epoch.
    """

    record: Any
    error: Exception
    attempts: int
    operator: str
    time: float


class DeadLetters:
    """Takes the dead letters of a job, from all its replicas.

    Args:
        sink: called with each one, one at a time; None keeps the first 10,000.
    """

    def __init__(self, sink: Callable[[DeadLetter], Any] | None = None) -> None:
        self._sink = sink
        self._kept: list[DeadLetter] = []
        self._lock = threading.Lock()

    def add(self, letter: DeadLetter) -> None:
        """Take one."""
        with self._lock:
            if self._sink is not None:
                self._sink(letter)
            elif len(self._kept) < KEPT:
                self._kept.append(letter)

    def kept(self) -> tuple[DeadLetter, ...]:
        """Return those that were kept."""
        with self._lock:
            return tuple(self._kept)

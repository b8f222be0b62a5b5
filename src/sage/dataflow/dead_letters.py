"""Records that were given up, with the reason."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

from sage.dataflow.context import RuntimeContext
from sage.dataflow.lifecycle import close_target, method_of, open_target
from sage.errors import OperatorError

# So many are kept for the result; a job with a sink of its own for them keeps none.
KEPT = 10_000
NAME = "dead letters"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record on which an operator failed for good.

    Attributes:
        record: the record; of a window whose result could not be made, a `WindowResult` with what
            the window had gathered as its value.
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
        sink: given each one, one at a time: a callable, or an object with ``execute``, which is
            opened and closed with the job. None keeps the first 10,000.

    Attributes:
        count: how many there were.
    """

    def __init__(self, sink: Any = None) -> None:
        self.count = 0
        self._sink = sink
        self._write = None if sink is None else getattr(sink, "execute", sink)
        self._kept: list[DeadLetter] = []
        self._opened = False
        self._lock = threading.Lock()

    def open(self) -> None:
        """Open the sink.

        Raises:
            ConfigError: its file cannot be written.
            Exception: whatever its ``open`` raised.
        """
        open_target(self._sink, RuntimeContext(NAME))
        self._opened = True

    def add(self, letter: DeadLetter) -> None:
        """Take one."""
        with self._lock:
            self.count += 1
            if self._write is not None:
                self._write(letter)
            elif len(self._kept) < KEPT:
                self._kept.append(letter)

    def kept(self) -> tuple[DeadLetter, ...]:
        """Return those that were kept."""
        with self._lock:
            return tuple(self._kept)

    def close(self) -> OperatorError | None:
        """Flush and close the sink, once; return what went wrong."""
        with self._lock:
            if not self._opened:
                return None
            self._opened = False
        failure: OperatorError | None = None
        for step, call in (("<flush>", method_of(self._sink, "flush")), ("<close>", self._close)):
            try:
                if call is not None:
                    call()
            except Exception as error:  # noqa: BLE001 - the job's result says what it was
                failure = failure or _failure(step, error)
        return failure

    def _close(self) -> None:
        close_target(self._sink)


def _failure(step: str, error: Exception) -> OperatorError:
    failure = OperatorError(NAME, step, error)
    failure.__cause__ = error
    return failure

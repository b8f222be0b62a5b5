"""Ctrl-C at a moment that cannot bear it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Hold a Ctrl-C back until the block has ended.

    ``Thread.start`` that is interrupted half way leaves it unknown whether the thread runs.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    # A handler that is not Python's own cannot be put back.
    if not in_main_thread or signal.getsignal(signal.SIGINT) is None:
        yield
        return
    held: list[int] = []
    previous = signal.signal(signal.SIGINT, lambda number, _: held.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
    if held:
        signal.raise_signal(signal.SIGINT)

"""Ctrl-C at a moment that cannot bear it, and SIGTERM while a job is waited for."""

from __future__ import annotations

import _thread
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Terminated(KeyboardInterrupt):
    """SIGTERM stops what runs in the main thread, at once.

    Of KeyboardInterrupt's kind, since asyncio lets no other exception through its event loop.
    """


@contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Hold a Ctrl-C back until the block has ended.

    ``Thread.start`` that is interrupted half way leaves it unknown whether the thread runs.
    """
    # A handler that is not Python's own cannot be put back.
    if not in_main_thread() or signal.getsignal(signal.SIGINT) is None:
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


@contextmanager
def terminations_handled(handler: Callable[[], None]) -> Iterator[None]:
    """Call ``handler`` at each SIGTERM within the block, in the main thread.

    Elsewhere, and where a handler of the user's own is set, the block just runs.
    """
    if not in_main_thread() or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, lambda _number, _frame: handler())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def signals_blocked() -> Iterator[None]:
    """Let a process that is started within the block begin with Ctrl-C and SIGTERM held back."""
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


def in_main_thread() -> bool:
    """Say whether this is the thread in which Python handles signals."""
    return threading.current_thread() is threading.main_thread()


class Watchdog:
    """Sends the main thread a SIGTERM after some seconds, unless it is called off before."""

    def __init__(self) -> None:
        self._called_off = _thread.allocate_lock()
        self._ended = _thread.allocate_lock()

    def start(self, seconds: float) -> None:
        """Begin to wait, from a signal handler too."""
        self._called_off.acquire()
        self._ended.acquire()
        # `threading.Thread.start` takes locks that the code which the signal came upon may hold.
        main_thread = threading.main_thread().ident
        assert main_thread is not None
        _thread.start_new_thread(self._watch, (seconds, main_thread))

    def call_off(self) -> None:
        """End it, if it was started; a signal that it has sent by then has been handled."""
        if self._ended.locked():
            self._called_off.release()
            self._ended.acquire()
            self._ended.release()

    def _watch(self, seconds: float, thread: int) -> None:
        if not self._called_off.acquire(timeout=min(seconds, threading.TIMEOUT_MAX)):
            signal.pthread_kill(thread, signal.SIGTERM)
        self._ended.release()

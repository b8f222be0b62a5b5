"""Ctrl-C held back for a moment."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from sage.dataflow.interrupts import interrupts_deferred


def test_interrupt_comes_after_the_block() -> None:
    """The block ends undisturbed, then the interrupt is raised."""
    reached = []

    def guarded() -> None:
        with interrupts_deferred():
            os.kill(os.getpid(), signal.SIGINT)
            reached.append(True)

    with pytest.raises(KeyboardInterrupt):
        guarded()
    assert reached == [True]


def test_other_threads() -> None:
    """Only the main thread has interrupts; elsewhere the block just runs."""
    ran = []

    def run() -> None:
        with interrupts_deferred():
            ran.append(True)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert ran == [True]

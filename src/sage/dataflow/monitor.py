"""Looks at a job from outside, at an interval: a thread that is there only when asked for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

INTERVAL = 0.25


class Probe(Protocol):
    """Something that is read again and again."""

    def probe(self, now: float) -> None:
        """Take a reading at ``now`` seconds."""


class Monitor:
    """Calls probes at an interval until the job has ended; without any, does nothing.

    Args:
        probes: what is called.
        ended: says whether the job has ended, after which the thread ends by itself.
        interval: seconds.
        clock: seconds.
    """

    def __init__(
        self,
        probes: Sequence[Probe],
        ended: Callable[[], bool],
        *,
        interval: float = INTERVAL,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._probes = probes
        self._ended = ended
        self._interval = interval
        self._clock = clock
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="job monitor", daemon=True)

    def start(self) -> None:
        """Begin, with a first reading at once."""
        if self._probes:
            self._thread.start()

    def stop(self) -> None:
        """End, and wait for the thread."""
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopped.is_set() and not self._ended():
            for probe in self._probes:
                probe.probe(self._clock())
            self._stopped.wait(self._interval)

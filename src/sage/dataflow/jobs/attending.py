"""A remote job that is waited for, with signals passed on to it."""

from __future__ import annotations

import time

from sage.dataflow.jobs.handle import RemoteJob
from sage.dataflow.result import OperatorReport

_SLICE = 0.2


class Attended:
    """What waits for a job: the first signal has it drain, another one stops it at once.

    Args:
        job: the job.
    """

    def __init__(self, job: RemoteJob) -> None:
        self._job = job
        self._signals = 0
        self._told = 0

    def signalled(self) -> None:
        """Take a signal, from its handler; whoever polls passes it on."""
        self._signals += 1

    @property
    def metrics(self) -> tuple[OperatorReport, ...]:
        """A report for each operator, as of now."""
        return self._job.metrics

    @property
    def elapsed(self) -> float:
        """Seconds since the job was submitted."""
        return self._job.elapsed

    def poll(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds; say whether the job has ended."""
        ends = time.monotonic() + timeout
        while True:
            self._pass_on()
            left = ends - time.monotonic()
            if self._job.poll(min(max(left, 0.0), _SLICE)):
                return True
            if left <= 0:
                return False

    def _pass_on(self) -> None:
        if self._signals > self._told:
            self._told = self._signals
            self._job.tell("stop" if self._signals == 1 else "cancel")

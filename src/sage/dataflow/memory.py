"""A job's memory limit: what to do as the memory in use passes it, and goes below it again.

The part that decides knows no process and no clock; `MemoryProbe` reads the memory and acts.
"""

from __future__ import annotations

import ctypes
import gc
import logging
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Protocol

import psutil

from sage.dataflow.sizes import size_text
from sage.errors import DataflowError

logger = logging.getLogger("sage.dataflow")

# Seconds for which the memory in use may stay where it is while the sources are paused.
GRACE = 10.0
# Of the limit: below this the sources go on, and so much less in use is progress.
RESUME_AT = 0.95
PROGRESS = 0.01


class Action(StrEnum):
    """What the memory in use calls for."""

    NONE = "none"
    PAUSE = "pause the sources"
    RESUME = "let the sources go on"
    FAIL = "fail the job"


class MemoryGuard:
    """Decides, reading by reading, what the memory in use calls for.

    Past the limit the sources are paused, so that what was read can flow off; below 95 % of it they
    go on. The job fails when, paused, the memory in use does not fall by 1 % of the limit within
    the grace: what holds it is then no queue.

    Args:
        limit: bytes.
        grace: seconds.
    """

    def __init__(self, limit: int, grace: float = GRACE) -> None:
        self.limit = limit
        self.grace = grace
        self.paused = False
        self._lowest = 0
        self._since = 0.0

    def decide(self, now: float, used: int) -> Action:
        """Take a reading: seconds, and bytes in use."""
        if not self.paused:
            if used <= self.limit:
                return Action.NONE
            self.paused, self._lowest, self._since = True, used, now
            return Action.PAUSE
        if used <= RESUME_AT * self.limit:
            self.paused = False
            return Action.RESUME
        if used <= self._lowest - PROGRESS * self.limit:
            self._lowest, self._since = used, now
        if now - self._since < self.grace:
            return Action.NONE
        # What follows, if anything does, is another attempt at the job, with a grace of its own.
        self.paused = False
        return Action.FAIL


class Sources(Protocol):
    """What a probe acts on: a job's runtime."""

    def pause(self, paused: bool) -> None:
        """Hold the sources, or let them go on."""

    def fail(self, error: BaseException) -> None:
        """End the job with an error."""


class MemoryProbe:
    """Reads the memory in use, and does what the guard decides.

    Args:
        job: its name, for the log.
        guard: decides.
        sources: what is paused.
        used: returns the bytes in use.
        largest_queue: describes the largest queue, for the log and the error.
        release: gives freed memory back to the system, as far as that is possible.
    """

    def __init__(
        self,
        job: str,
        guard: MemoryGuard,
        sources: Sources,
        used: Callable[[], int],
        largest_queue: Callable[[], str],
        *,
        release: Callable[[], None] = lambda: None,
    ) -> None:
        self._job = job
        self._guard = guard
        self._sources = sources
        self._used = used
        self._largest_queue = largest_queue
        self._release = release
        self._logged = False

    def probe(self, now: float) -> None:
        """Take a reading at ``now`` seconds."""
        if self._guard.paused:
            self._release()
        used = self._used()
        action = self._guard.decide(now, used)
        if action is Action.FAIL:
            self._sources.fail(DataflowError(self._complaint(used)))
        elif self._guard.paused or action is Action.RESUME:
            # Said at each reading: the job may have been started again since, with new sources.
            self._sources.pause(self._guard.paused)
            if not self._logged:
                self._logged = True
                logger.warning(
                    "job %r uses %s of memory, past its memory_limit of %s: its sources are paused "
                    "until it is less; %s (said once)",
                    self._job,
                    size_text(used),
                    size_text(self._guard.limit),
                    self._largest_queue(),
                )

    def _complaint(self, used: int) -> str:
        return (
            f"job {self._job!r} uses {size_text(used)} of memory, its memory_limit is "
            f"{size_text(self._guard.limit)}, and that did not fall in {self._guard.grace:g} s "
            f"with its sources paused; {self._largest_queue()}. Keep less in the operators, lower "
            "channel_capacity or batch_size, or raise memory_limit"
        )


def release_freed_memory() -> None:
    """Give back to the system what is free in this process.

    An allocator keeps freed memory for what comes next, by which a drained queue would look as if
    it were still full; glibc's can be asked for it.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def resident_bytes(workers: Iterable[int]) -> int:
    """Return the memory that this process and its worker processes hold, in bytes.

    Args:
        workers: their process ids; one that has ended counts nothing.
    """
    total: int = psutil.Process().memory_info().rss
    for pid in workers:
        try:
            total += psutil.Process(pid).memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total

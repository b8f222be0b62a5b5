"""What happens when an operator raises on a record: another attempt, or one of three ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event
from typing import Any

from sage.dataflow.dead_letters import DeadLetter, DeadLetters
from sage.dataflow.graph import Kind, Node
from sage.dataflow.meter import Meter
from sage.dataflow.options import OnError
from sage.dataflow.retry import RetryPolicy
from sage.dataflow.services import Services

ONCE = RetryPolicy(attempts=1)


@dataclass(frozen=True, slots=True)
class JobServices:
    """What the replicas of a job share.

    Attributes:
        dead_letters: where records go that were given up.
        cancelled: set when the job is cancelled; ends every wait.
        clock: seconds, for timers too.
        wall_clock: seconds since the epoch.
        clock_offset: seconds since the epoch when ``clock`` reads 0. It is taken once, so that
            processing time goes on evenly whatever becomes of the machine's clock.
        injected: whether the clock is the user's own, to which nothing wakes by itself.
        registered: the services that the user registered, as this process has them.
    """

    dead_letters: DeadLetters = field(default_factory=DeadLetters)
    cancelled: Event = field(default_factory=Event)
    clock: Callable[[], float] = time.perf_counter
    wall_clock: Callable[[], float] = time.time
    clock_offset: float = field(default_factory=lambda: time.time() - time.perf_counter())
    injected: bool = False
    registered: Services = field(default_factory=Services)

    def processing_time(self) -> float:
        """Return the seconds since the epoch by which processing-time timers go."""
        return self.clock() + self.clock_offset


class BlamedError(Exception):
    """An operator raised on something other than the record at hand: a window, a timer.

    Args:
        record: what it was.
        cause: what the operator raised.
    """

    def __init__(self, record: Any, cause: Exception) -> None:
        self.record = record
        self.cause = cause
        super().__init__(record, cause)


class Guard:
    """Calls an operator on a record, again if need be, and ends as its ``on_error`` says.

    Args:
        node: the operator, with its options.
        call: runs it.
        meter: where failures are counted.
        services: of the job.
        shown: makes of a record what the user knows it as.
    """

    def __init__(
        self,
        node: Node,
        call: Callable[[Any], Any],
        meter: Meter,
        services: JobServices,
        shown: Callable[[Any], Any],
    ) -> None:
        self._operator = node.name
        self._kind = node.kind
        self._call = call
        self._meter = meter
        self._retry = node.options.retry or ONCE
        self._on_error = node.options.on_error
        self._services = services
        self._shown = shown

    def __call__(self, record: Any) -> Any:
        """Return what the operator does, or None for a record that was given up."""
        start = self._services.clock()
        failures = 0
        while True:
            try:
                result = self._call(record)
                # A generator fails while it is read, which must be while we watch.
                lazy = self._kind is Kind.FLATMAP and result is not None
                return list(result) if lazy else result
            except BlamedError:
                raise
            except Exception as error:
                failures += 1
                delay = self._next(failures, error, start, record)
                if delay is None:
                    return None
                if self._services.cancelled.wait(delay):
                    raise

    async def awaited(self, record: Any) -> Any:
        """Do the same with an operator that is a coroutine function.

        Raises:
            Exception: what the operator raised, when ``on_error`` is "raise".
        """
        start = self._services.clock()
        failures = 0
        while True:
            try:
                return await self._call(record)
            except Exception as error:  # noqa: BLE001 - `_next` raises it again when it is final
                failures += 1
                delay = self._next(failures, error, start, record)
                if delay is None:
                    return None
                await asyncio.sleep(delay)

    def _next(self, failures: int, error: Exception, start: float, record: Any) -> float | None:
        """Return the seconds to the next attempt, or None when the record was given up."""
        delay = self._retry.delay(failures, error, self._services.clock() - start)
        if delay is not None:
            self._meter.retried += 1
            return delay
        if self._on_error is OnError.RAISE:
            raise error
        self._count()
        if self._on_error is OnError.DEAD_LETTER:
            now = self._services.wall_clock()
            letter = DeadLetter(self._shown(record), error, failures, self._operator, now)
            self._services.dead_letters.add(letter)
        return None

    def _count(self) -> None:
        """Count a failure, in place of what the loop takes it for."""
        self._meter.failed += 1
        if self._kind is Kind.SINK:
            self._meter.records_out -= 1
        elif self._kind is not Kind.FLATMAP:
            self._meter.dropped -= 1


class ResultGuard(Guard):
    """The same for what an operator makes of a window or a timer, not of the record at hand."""

    def __call__(self, record: Any) -> Any:
        """Return what the operator makes of it, or None when it was given up.

        Raises:
            BlamedError: it raised, and ``on_error`` is "raise".
        """
        try:
            return super().__call__(record)
        except Exception as error:
            raise BlamedError(self._shown(record), error) from error

"""What SIGTERM asks of a job, one thing after the other."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

# Seconds that operators have to return after the job was cancelled, before it goes on without them.
PATIENCE = 5.0


class Order(StrEnum):
    """What a job is to do."""

    DRAIN = "drain"
    CANCEL = "cancel"
    ABANDON = "abandon"


class Shutdown:
    """From the first SIGTERM to the end: drain, then cancel, then go on without who stays.

    Args:
        grace: seconds to drain.
        clock: seconds.
        patience: seconds that operators have to return after that.
    """

    def __init__(
        self, grace: float, clock: Callable[[], float], *, patience: float = PATIENCE
    ) -> None:
        self.grace = grace
        self._clock = clock
        self._patience = patience
        self._signals = 0
        self._given: Order | None = None
        self._since = 0.0

    def signalled(self) -> None:
        """Count a SIGTERM; a signal handler may call it."""
        self._signals += 1

    def cancelled(self) -> None:
        """Know that the job was cancelled without a signal: the next one finds it so."""
        if self._given in (None, Order.DRAIN):
            self._give(Order.CANCEL)

    def order(self) -> Order | None:
        """Return what to do now, each order once; None for nothing new."""
        if self._signals == 0:
            return None
        waited = self._clock() - self._since
        if self._given is None:
            return self._give(Order.DRAIN)
        if self._given is Order.DRAIN and (self._signals > 1 or waited >= self.grace):
            return self._give(Order.CANCEL)
        if self._given is Order.CANCEL and waited >= self._patience:
            return self._give(Order.ABANDON)
        return None

    def _give(self, order: Order) -> Order:
        self._given = order
        self._since = self._clock()
        return order

"""How much to take at once, and how long to wait when there is nothing."""

from __future__ import annotations


class Pacer:
    """Sizes batches by time: fast records move by the thousand, slow ones one by one.

    A batch should take about ``target`` seconds, so that replicas share the work evenly and a
    record never waits long for its batch mates.

    Args:
        largest: most records in a batch.
        target: seconds a batch should take.
    """

    def __init__(self, largest: int, target: float = 0.005) -> None:
        self._largest = largest
        self._target = target
        self.limit = 1

    def worked(self, records: int, seconds: float) -> None:
        """Learn from a batch: it may at most double, and shrinks at once."""
        if records == 0:
            return
        fitting = int(self._target * records / max(seconds, 1e-9))
        self.limit = max(1, min(fitting, 2 * self.limit, self._largest))


def idle_wait(idle: float) -> float:
    """Return the seconds to wait before asking an idle source again.

    A tenth of the time it has been idle, within 50 µs and 5 ms: a busy source is asked at once,
    a quiet one costs next to no CPU.

    Args:
        idle: seconds since its last record.
    """
    return min(max(idle / 10, 50e-6), 5e-3)

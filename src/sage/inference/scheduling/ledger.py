"""Every request that has not ended, and how the others did."""

from __future__ import annotations

from dataclasses import dataclass

from sage.errors import InferenceError
from sage.inference.scheduling.decision import Reject
from sage.inference.scheduling.entry import Entry
from sage.inference.scheduling.forecast import Forecast
from sage.inference.scheduling.statistics import Statistics


@dataclass(slots=True)
class Counts:
    """What became of the requests submitted so far.

    submitted = rejected + done + failed + cancelled + queued + in_flight, always.

    Attributes:
        retried: attempts that were taken from one instance to another; no request is counted
            twice for it, but each attempt is counted at its instance.
    """

    submitted: int = 0
    rejected: int = 0
    done: int = 0
    failed: int = 0
    cancelled: int = 0
    queued: int = 0
    in_flight: int = 0
    retried: int = 0

    @property
    def accepted(self) -> int:
        """Requests that were not refused."""
        return self.submitted - self.rejected


class Ledger:
    """Books requests in and out, so that the sums agree.

    Args:
        forecast: knows each request's SLO.
        statistics: where ends are measured.

    Attributes:
        entries: requests that have not ended, by id.
        counts: of the others; ``queued`` and ``in_flight`` are filled in when asked for.
    """

    def __init__(self, forecast: Forecast, statistics: Statistics) -> None:
        self._forecast = forecast
        self._statistics = statistics
        self.entries: dict[int, Entry] = {}
        self.counts = Counts()

    def running(self, request_id: int) -> Entry:
        """Return a request that an instance holds, or raise InferenceError."""
        entry = self.entries.get(request_id)
        if entry is None or entry.instance is None:
            raise InferenceError(f"request {request_id} is not running")
        return entry

    def served(self, entry: Entry, now: float) -> None:
        """Count a request that was served."""
        self.counts.done += 1
        slo = self._forecast.slo(entry.request)
        self._statistics.finished(entry, slo, entry.tokens, now)

    def fail(self, entry: Entry, now: float) -> None:
        """Count a request that failed for good."""
        self.counts.failed += 1
        self._statistics.failed(entry, self._forecast.slo(entry.request), now)

    def cancel(self, entry: Entry) -> None:
        """Count a request that nobody wants any longer."""
        self.counts.cancelled += 1
        self._statistics.of(entry).cancelled += 1

    def refuse(
        self,
        entry: Entry,
        status: int,
        reason: str,
        retry_after: float | None,
        now: float,
    ) -> Reject:
        """Count a request as rejected and forget it."""
        self.counts.rejected += 1
        self.entries.pop(entry.request.id, None)
        self._statistics.rejected(entry, self._forecast.slo(entry.request), now)
        return Reject(entry.request.id, status, reason, retry_after)

    def give_up(self, entry: Entry, now: float) -> Reject:
        """Count a request that no instance could be reached with as failed, and forget it."""
        self.fail(entry, now)
        self.entries.pop(entry.request.id, None)
        tried = ", ".join(entry.tried)
        reason = f"no instance of {entry.group.model!r} could be reached; tried: {tried}"
        return Reject(entry.request.id, 502, reason)

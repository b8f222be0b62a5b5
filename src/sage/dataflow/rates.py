"""How fast a job goes now, and when it will end, from looks at its counts."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sage.dataflow.graph import Kind
from sage.dataflow.result import OperatorReport

WINDOW = 5.0


@dataclass(frozen=True, slots=True)
class _Look:
    time: float
    handled: Mapping[str, int]
    queued: Mapping[str, int]
    share: float | None


class Rates:
    """Speeds over the last seconds.

    Args:
        window: seconds; until so many have passed, since the first look.
    """

    def __init__(self, window: float = WINDOW) -> None:
        self._window = window
        self._looks: deque[_Look] = deque()

    def look(self, now: float, reports: Sequence[OperatorReport]) -> None:
        """Take the counts as of ``now`` seconds."""
        handled = {report.name: handled_records(report) for report in reports}
        queued = {report.name: report.queued for report in reports}
        self._looks.append(_Look(now, handled, queued, given_share(reports)))
        # One that is older stays, so that the window is never shorter than asked for.
        while len(self._looks) > 2 and self._looks[1].time <= now - self._window:
            self._looks.popleft()

    def per_second(self, operator: str) -> float:
        """Return an operator's records a second; 0 before the second look."""
        if len(self._looks) < 2:
            return 0.0
        first, last = self._looks[0], self._looks[-1]
        gained = last.handled[operator] - first.handled[operator]
        return gained / max(last.time - first.time, 1e-9)

    def remaining(self) -> float | None:
        """Return the seconds until the end, at the speed of now.

        That is until the sources have given everything, and then until the slowest queue is empty.
        None when the size of a source is not known, or what is left does not move.
        """
        if len(self._looks) < 2:
            return None
        first, last = self._looks[0], self._looks[-1]
        waits = [
            _quotient(queued, self.per_second(operator)) for operator, queued in last.queued.items()
        ]
        if first.share is not None and last.share is not None:
            gained = (last.share - first.share) / max(last.time - first.time, 1e-9)
            reading = _quotient(1 - last.share, gained)
        else:
            reading = None
        if reading is None or None in waits:
            return None
        return reading + max((wait for wait in waits if wait is not None), default=0.0)


def handled_records(report: OperatorReport) -> int:
    """Return the records that an operator has taken, or, of a source, given."""
    return report.records_in or report.records_out


def given_share(reports: Sequence[OperatorReport]) -> float | None:
    """Return how much of their input all sources have given; None when one does not know."""
    shares = [report.share for report in reports if report.kind is Kind.SOURCE]
    known = [share for share in shares if share is not None]
    # The slowest decides when the job ends.
    return min(known) if known and len(known) == len(shares) else None


def _quotient(left: float, per_second: float) -> float | None:
    """Return the seconds for what is left; None when it does not move."""
    if left <= 0:
        return 0.0
    return left / per_second if per_second > 0 else None

"""What is measured: times and attainment, by class and by instance."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sage.inference.scheduling.entry import Entry
from sage.inference.scheduling.quantiles import WindowedQuantiles
from sage.inference.scheduling.slo import SLO

_QS = (0.5, 0.95, 0.99)
_MOST_CLASSES = 256
_OTHER = "other"
_MEMORY = 0.98
_LATELY = 30.0


class Figures:
    """Ends and times of one class's requests, or of one instance's attempts.

    Times are in seconds over the last minute: queue time to the last dispatch, TTFT and E2E from
    arrival, TPOT between tokens. TTFT and TPOT are of streams alone. An SLO counts as met, missed
    (served too late), failed or rejected; what clients cancelled counts in none of them.
    """

    __slots__ = (
        "cancelled",
        "done",
        "e2e",
        "failed",
        "queue_time",
        "rejected",
        "slo_failed",
        "slo_met",
        "slo_missed",
        "slo_rejected",
        "tpot",
        "ttft",
    )

    def __init__(self) -> None:
        self.done = self.failed = self.cancelled = self.rejected = 0
        self.slo_met = self.slo_missed = self.slo_failed = self.slo_rejected = 0
        self.queue_time = WindowedQuantiles()
        self.ttft = WindowedQuantiles()
        self.tpot = WindowedQuantiles()
        self.e2e = WindowedQuantiles()

    def describe(self, now: float) -> dict[str, Any]:
        """Return counts, P50/P95/P99 of each time, and attainment; None where nothing is known."""
        judged = self.slo_met + self.slo_missed + self.slo_failed + self.slo_rejected
        return {
            "done": self.done,
            "failed": self.failed,
            "cancelled": self.cancelled,
            "rejected": self.rejected,
            "queue_time_s": _percentiles(self.queue_time, now),
            "ttft_s": _percentiles(self.ttft, now),
            "tpot_s": _percentiles(self.tpot, now),
            "e2e_s": _percentiles(self.e2e, now),
            "slo": {
                "met": self.slo_met,
                "missed": self.slo_missed,
                "failed": self.slo_failed,
                "rejected": self.slo_rejected,
                "attainment": self.slo_met / judged if judged else None,
            },
        }


class Statistics:
    """The figures of every class and instance; at most 256 classes, further ones are "other".

    Attributes:
        classes: by the request's class, or its kind where it names none.
        instances: by id.
    """

    def __init__(self) -> None:
        self.classes: dict[str, Figures] = {}
        self.instances: dict[str, Figures] = {}
        self._attained = 1.0
        self._judged = float("-inf")

    def finished(self, entry: Entry, slo: SLO | None, tokens: int, now: float) -> None:
        """A request was served with so many generated tokens (0 when not known)."""
        request = entry.request
        state = entry.instance
        assert state is not None
        arrived = request.arrived
        first = entry.first_token
        ttft = tpot = None
        if first is not None:
            ttft = first - arrived
            if tokens > 1:
                tpot = (now - first) / (tokens - 1)
        figures = self.of(entry)
        instance = self.instances.get(state.spec.id)
        if instance is None:
            instance = self.instances[state.spec.id] = Figures()
        figures.done += 1
        instance.done += 1
        e2e = now - arrived
        _put(figures.queue_time, instance.queue_time, entry.dispatched - arrived, now)
        _put(figures.e2e, instance.e2e, e2e, now)
        if ttft is not None:
            _put(figures.ttft, instance.ttft, ttft, now)
        if tpot is not None:
            _put(figures.tpot, instance.tpot, tpot, now)
        if slo is not None:
            met = meets(slo, e2e if ttft is None else ttft, tpot, e2e)
            for item in (figures, instance):
                if met:
                    item.slo_met += 1
                else:
                    item.slo_missed += 1
            self._judge(met, now)

    def failed(self, entry: Entry, slo: SLO | None, now: float) -> None:
        """A request failed for good."""
        figures = self.of(entry)
        figures.failed += 1
        if slo is not None:
            figures.slo_failed += 1
            self._judge(False, now)

    def rejected(self, entry: Entry, slo: SLO | None, now: float) -> None:
        """A request was refused."""
        figures = self.of(entry)
        figures.rejected += 1
        if slo is not None:
            figures.slo_rejected += 1
            self._judge(False, now)

    def attainment(self, now: float) -> float | None:
        """Return the smoothed share that met its SLO; None when none ended in the last 30 s."""
        return self._attained if now - self._judged <= _LATELY else None

    def of(self, entry: Entry) -> Figures:
        """Return the figures of a request's class."""
        name = entry.request.cls or entry.request.kind.value
        figures = self.classes.get(name)
        if figures is None:
            if len(self.classes) >= _MOST_CLASSES:
                name = _OTHER
            figures = self.classes.setdefault(name, Figures())
        return figures

    def describe_classes(self, live: Iterable[Entry], now: float) -> dict[str, Any]:
        """Return each class's figures, with how many of ``live`` wait and run."""
        waiting: dict[int, int] = {}
        running: dict[int, int] = {}
        for entry in live:
            counts = waiting if entry.instance is None else running
            key = id(self.of(entry))
            counts[key] = counts.get(key, 0) + 1
        return {
            name: {
                "queued": waiting.get(id(figures), 0),
                "in_flight": running.get(id(figures), 0),
                **figures.describe(now),
            }
            for name, figures in self.classes.items()
        }

    def _judge(self, met: bool, now: float) -> None:
        self._attained = _MEMORY * self._attained + (1.0 - _MEMORY) * met
        self._judged = now


def _put(first: WindowedQuantiles, second: WindowedQuantiles, value: float, now: float) -> None:
    """Take a value into two sketches of equal error, at the price of one logarithm."""
    bucket = first.bucket(value)
    first.put(bucket, now)
    second.put(bucket, now)


def meets(slo: SLO, ttft: float, tpot: float | None, e2e: float) -> bool:
    """Whether times in seconds meet an SLO; a TPOT that is not known is not held against it."""
    return not (
        (slo.ttft_s is not None and ttft > slo.ttft_s)
        or (slo.tpot_s is not None and tpot is not None and tpot > slo.tpot_s)
        or (slo.deadline_s is not None and e2e > slo.deadline_s)
    )


def _percentiles(sketch: WindowedQuantiles, now: float) -> dict[str, float | None]:
    return dict(zip(("p50", "p95", "p99"), sketch.quantiles(_QS, now), strict=True))

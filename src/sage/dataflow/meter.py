"""Counts of one replica of one operator."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from sage.dataflow.latency import LatencyHistogram


@dataclass(slots=True)
class Meter:
    """What went through a replica; written by its own thread, read by any.

    For every operator ``records_in = passed + dropped + failed``, where passed records are those
    it returned something for.

    Attributes:
        records_in: records taken (of a source: none).
        records_out: records emitted (of a sink: records taken without an error).
        dropped: records for which it emitted nothing (a filter's no, a map's None).
        failed: records on which it raised, for good.
        retried: attempts that failed and were followed by another.
        clocked: seconds measured in it, over the batches that were measured.
        busy: estimate of all the seconds spent in it; of an async operator, the seconds in which it
            had records in flight.
        latency: seconds by record, of those that were measured.
    """

    records_in: int = 0
    records_out: int = 0
    dropped: int = 0
    failed: int = 0
    retried: int = 0
    clocked: float = 0.0
    busy: float = 0.0
    latency: LatencyHistogram = field(default_factory=LatencyHistogram)

    def take(self, other: Meter) -> None:
        """Go on counting from where another replica was."""
        for each in fields(self):
            setattr(self, each.name, getattr(other, each.name))
        self.latency = other.latency.copy()

    def add(self, other: Meter) -> None:
        """Count what another replica has counted, too."""
        for each in fields(self):
            if each.name != "latency":
                setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))
        self.latency.merge(other.latency)


@dataclass(slots=True)
class Traffic:
    """What goes on at a replica's ends; always of the job's own process, by the batch.

    Attributes:
        waited: seconds for which its thread waited for records.
        blocked: seconds for which it waited because a channel after it was full.
        bytes_in: pickled bytes sent to its worker process; None when it has none.
        bytes_out: pickled bytes that came back.
        in_flight: records that it has taken and is not done with.
    """

    waited: float = 0.0
    blocked: float = 0.0
    bytes_in: int | None = None
    bytes_out: int | None = None
    in_flight: int = 0

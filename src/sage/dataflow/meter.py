"""Counts of one replica of one operator."""

from __future__ import annotations

from dataclasses import dataclass, fields


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
        busy: estimate of all the seconds spent in it.
    """

    records_in: int = 0
    records_out: int = 0
    dropped: int = 0
    failed: int = 0
    retried: int = 0
    clocked: float = 0.0
    busy: float = 0.0

    def take(self, other: Meter) -> None:
        """Go on counting from where another replica was."""
        for field in fields(self):
            setattr(self, field.name, getattr(other, field.name))

    def add(self, other: Meter) -> None:
        """Count what another replica has counted, too."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))

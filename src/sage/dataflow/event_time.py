"""Event time: what time a record is of, and how far time has gone on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from sage.dataflow.context import RuntimeContext
from sage.dataflow.control import ControlItem, ControlSource, Watermark
from sage.dataflow.guard import JobServices
from sage.dataflow.lifecycle import Bound, Checkpointed, Timed, Wrapper
from sage.dataflow.meter import Meter
from sage.errors import ConfigError, shorten

BEGINNING = -math.inf

TimestampFunction = Callable[[Any], float]


class Stamped(NamedTuple):
    """A record with its time.

    Attributes:
        timestamp: the record's time.
        watermark: the watermark at its place in the stream, or minus infinity where only the
            control items know it.
        record: the record.
    """

    timestamp: float
    watermark: float
    record: Any


def check_delay(name: str, value: float) -> None:
    """Raise `ConfigError` unless ``value`` is a number from 0."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value < math.inf:
        raise ConfigError(f"{name} is {value!r}; give a number from 0, in the timestamps' unit")


def check_timestamp_function(function: object) -> None:
    """Raise `ConfigError` unless it can be called."""
    if not callable(function):
        raise ConfigError(
            f"timestamp is {shorten(function)}; give a function that returns a record's time"
        )


def read_timestamp(function: TimestampFunction, record: Any) -> float:
    """Return a record's time.

    Raises:
        TypeError: the function returned no number.
        ValueError: it returned a number that is not finite.
    """
    timestamp = function(record)
    if not isinstance(timestamp, (int, float)):
        raise TypeError(f"the timestamp {shorten(timestamp)} is no number")
    if not math.isfinite(timestamp):
        raise ValueError(f"the timestamp {timestamp} is not finite")
    return timestamp


class WatermarkSource(Wrapper, ControlSource, Timed, Bound, Checkpointed):
    """Sends watermarks that follow the latest record, ``out_of_orderness`` behind.

    A watermark that reaches it goes no further: its own take their place.

    Args:
        timestamp: returns a record's time.
        out_of_orderness: how much earlier than the latest record another one may be and still be
            waited for.
        idle_after: seconds without a record after which others need not wait for this stream; None
            for never.
    """

    def __init__(
        self,
        timestamp: TimestampFunction,
        out_of_orderness: float = 0.0,
        idle_after: float | None = None,
    ) -> None:
        super().__init__(timestamp)
        self._delay = out_of_orderness
        self._idle_after = idle_after
        self._clock: Callable[[], float] = JobServices().clock
        self._sent = Watermark(BEGINNING)
        self._woken = True
        self._idle = False
        self.watermark = BEGINNING

    def bind(self, services: JobServices, meter: Meter) -> None:  # noqa: ARG002 - counts nothing
        """Go by the job's clock."""
        self._clock = services.clock

    def open(self, context: RuntimeContext) -> Any:
        """Begin to wait for records."""
        self._wait()
        return super().open(context)

    def execute(self, record: Any) -> Any:
        """Pass a record on."""
        self.observe(record)
        return record

    def observe(self, record: Any) -> float:
        """Let time go on to a record; return the record's time."""
        timestamp = read_timestamp(self.call, record)
        watermark = timestamp - self._delay
        self.watermark = max(self.watermark, watermark)
        self._woken = True
        return timestamp

    def absorbs(self, item: ControlItem) -> bool:
        """Say that watermarks end here."""
        return isinstance(item, Watermark)

    def originated(self) -> Watermark | None:
        """Return a watermark if time has gone on, or the stream has fallen silent or woken."""
        if self._woken:
            self._woken = self._idle = False
            self._wait()
        watermark = Watermark(self.watermark, self._idle).after(self._sent)
        self._sent = watermark or self._sent
        return watermark

    def wake(self) -> list[Any]:
        """Fall silent: no record has come for long enough."""
        self._idle = True
        self.due = None
        return []

    def saved(self) -> float:
        """Return the watermark."""
        return self.watermark

    def restore_saved(self, state: float) -> None:
        """Let time be where it was; those further down are told again."""
        self.watermark = state

    @staticmethod
    def divided(states: Sequence[float], parallelism: int) -> list[float]:
        """Let every replica begin where the one that was behind has been."""
        return [min(states)] * parallelism

    def _wait(self) -> None:
        if self._idle_after is not None:
            self.due = self._clock() + self._idle_after


class Stamper(WatermarkSource):
    """Gives the record of each (key, record) pair its time.

    The only replica of one that reads the whole stream also gives the watermark, so that what is
    late does not depend on how records were batched.

    Args:
        timestamp: returns a record's time.
        out_of_orderness: as above.
        tagged: whether the records carry a mark of which of two streams they come from, in which
            case there is a stamper for each.
    """

    def __init__(
        self, timestamp: TimestampFunction, out_of_orderness: float = 0.0, tagged: bool = False
    ) -> None:
        super().__init__(timestamp, out_of_orderness)
        self._tagged = tagged
        self._whole = False

    def open(self, context: RuntimeContext) -> Any:
        """Find out whether there are other replicas."""
        self._whole = context.parallelism == 1 and not self._tagged
        return super().open(context)

    def execute(self, record: Any) -> tuple[Any, Stamped]:
        """Return the pair with a stamped record."""
        key, data = record
        timestamp = self.observe(data)
        return key, Stamped(timestamp, self.watermark if self._whole else BEGINNING, data)

    def shown(self, record: Any) -> Any:
        """Return the user's record, for errors."""
        return record[1][1] if self._tagged else record[1]


@dataclass(frozen=True, slots=True)
class TaggedTimestamp:
    """Returns the time of a record that is marked with the stream it came from.

    Attributes:
        functions: for each stream, what returns a record's time.
    """

    functions: tuple[TimestampFunction, TimestampFunction]

    def __call__(self, tagged: tuple[int, Any]) -> float:
        """Return the record's time."""
        side, record = tagged
        return self.functions[side](record)


class TimeReader(Protocol):
    """Says what time a keyed operator's records are of."""

    def read(self, record: Any) -> Stamped:
        """Return a record with its time."""

    def shown(self, record: Any) -> Any:
        """Return the user's record, for errors."""


class StampedTime:
    """The records carry their time already."""

    def read(self, record: Stamped) -> Stamped:
        """Return the record as it is."""
        return record

    def shown(self, record: Stamped) -> Any:
        """Return the user's record."""
        return record.record


@dataclass(frozen=True, slots=True)
class ReadTime:
    """The time is read here; the watermarks come from further up.

    Attributes:
        timestamp: returns a record's time.
    """

    timestamp: TimestampFunction

    def read(self, record: Any) -> Stamped:
        """Return the record with its time."""
        return Stamped(read_timestamp(self.timestamp, record), BEGINNING, record)

    def shown(self, record: Any) -> Any:
        """Return the record."""
        return record


class ArrivalTime:
    """The time is that of the clock, which never goes back.

    Args:
        clock: seconds since the epoch; None until the operator knows the job's.
    """

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        self._now = BEGINNING
        self._clock = clock

    def now(self) -> float:
        """Return the processing time."""
        assert self._clock is not None
        self._now = max(self._now, self._clock())
        return self._now

    def read(self, record: Any) -> Stamped:
        """Return the record with the present time."""
        now = self.now()
        return Stamped(now, now, record)

    def shown(self, record: Any) -> Any:
        """Return the record."""
        return record

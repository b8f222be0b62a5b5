"""What a checkpoint keeps of one replica of one operator, and how other replicas share it out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sage.dataflow.keys import partition
from sage.dataflow.meter import Meter
from sage.dataflow.timers import SavedTimers


class InFlightRecords(NamedTuple):
    """What an async operator works on.

    Attributes:
        items: records, and the control items that are behind them, in their order.
        begun: how many of the records it has counted as taken.
    """

    items: tuple[Any, ...] = ()
    begun: int = 0


NONE_IN_FLIGHT = InFlightRecords()


@dataclass(frozen=True, slots=True)
class OperatorState:
    """State of one replica between two records.

    Attributes:
        meter: its counts: those of a job go on after a restart.
        metrics: the user's own counters.
        keyed: what it keeps by key: by name, by key.
        timers: that are set.
        own: what an operator of ours keeps beside that.
        users: what the user's ``snapshot`` returned; empty when there is none.
        offset: of a source: where its next record begins.
        in_flight: of an async operator: the items of `InFlightRecords`; their records are not
            among the counts.
    """

    meter: Meter
    metrics: Mapping[str, int] = field(default_factory=dict)
    keyed: Mapping[str, Mapping[Any, Any]] = field(default_factory=dict)
    timers: SavedTimers = field(default_factory=SavedTimers)
    own: Any = None
    users: tuple[Any, ...] = ()
    offset: Any = None
    in_flight: tuple[Any, ...] = ()


def share(states: Sequence[OperatorState], index: int, parallelism: int) -> OperatorState:
    """Return what one replica takes over from others of another number.

    Keys go where their records will. Counts go to the first replica. What an operator keeps beside
    that is left out: it alone knows how to divide it.

    Args:
        states: of all the replicas that there were.
        index: the replica's number.
        parallelism: how many there are now.
    """

    def mine(key: Any) -> bool:
        return partition(key, parallelism) == index

    meter, metrics = Meter(), Counter[str]()
    if index == 0:
        for state in states:
            meter.add(state.meter)
            metrics.update(state.metrics)
    names = {name: None for state in states for name in state.keyed}
    return OperatorState(
        meter=meter,
        metrics=dict(metrics),
        keyed={
            name: {
                key: kept
                for state in states
                for key, kept in state.keyed.get(name, {}).items()
                if mine(key)
            }
            for name in names
        },
        timers=SavedTimers(
            min(state.timers.watermark for state in states),
            tuple(timer for state in states for timer in state.timers.timers if mine(timer[2])),
        ),
        in_flight=tuple(item for state in states for item in state.in_flight)[index::parallelism],
    )

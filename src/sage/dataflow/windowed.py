"""A keyed stream divided into windows: what can be made of one."""

from __future__ import annotations

import builtins
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from sage.dataflow.blueprint import Blueprint, split_arguments
from sage.dataflow.event_time import (
    ArrivalTime,
    ReadTime,
    StampedTime,
    Stamper,
    TaggedTimestamp,
    TimeReader,
    TimestampFunction,
    check_delay,
    check_timestamp_function,
)
from sage.dataflow.functions.aggregate import AggregateFunction
from sage.dataflow.graph import Kind, Node
from sage.dataflow.splitting import Selected
from sage.dataflow.window_operator import (
    LATE,
    RESULTS,
    How,
    Late,
    WindowOperator,
    WindowSettings,
)
from sage.dataflow.windows import Windows
from sage.errors import ConfigError, GraphError, shorten

if TYPE_CHECKING:
    from sage.dataflow.pipeline import Pipeline
    from sage.dataflow.stream import Stream

LateChoice = Literal["dead_letter", "stream", "drop"]


@dataclass(frozen=True, slots=True)
class EventTimeOptions:
    """Where an operator's event time comes from.

    Attributes:
        timestamp: returns a record's time; None for processing time.
        out_of_orderness: how much earlier than the latest record another one may be and still be
            waited for; None takes the watermarks from further up, or 0 where there are none.
    """

    timestamp: TimestampFunction | None = None
    out_of_orderness: float | None = None

    def __post_init__(self) -> None:
        if self.timestamp is not None:
            check_timestamp_function(self.timestamp)
        if self.out_of_orderness is not None:
            check_delay("out_of_orderness", self.out_of_orderness)
            if self.timestamp is None:
                raise ConfigError("out_of_orderness is for event time: give timestamp=, too")


def with_time(
    environment: Pipeline, inputs: Sequence[Node], options: EventTimeOptions
) -> tuple[tuple[Node, ...], TimeReader]:
    """Make the time of keyed records known to an operator that is to read them.

    Returns:
        the nodes that it is to read, and what reads the time of what they emit.
    """
    if options.timestamp is None:
        return tuple(inputs), ArrivalTime()
    further_up = all(environment.has_event_time(node) for node in inputs)
    if further_up and options.out_of_orderness is None:
        return tuple(inputs), ReadTime(options.timestamp)
    arguments = {
        "timestamp": options.timestamp,
        "out_of_orderness": options.out_of_orderness or 0.0,
        "tagged": isinstance(options.timestamp, TaggedTimestamp),
    }
    stampers = tuple(
        environment.add_node(
            Kind.MAP,
            Blueprint(Stamper, kwargs=arguments),
            {
                "name": environment.free_name("timestamps"),
                "parallelism": node.parallelism,
                "workers": "thread",
            },
            inputs=(node.id,),
        )
        for node in inputs
    )
    return stampers, StampedTime()


class Windowing:
    """Records divided into windows, of which one thing can be made.

    Args:
        environment: of the stream.
        inputs: the operators that give the keyed records.
        windows: how time is divided.
        time: where event time comes from.
        allowed_lateness: how long a window is kept for late records.
        late: what becomes of records that come later still.
    """

    def __init__(
        self,
        environment: Pipeline,
        inputs: Sequence[Node],
        windows: Windows,
        time: EventTimeOptions,
        *,
        allowed_lateness: float,
        late: str,
    ) -> None:
        if not isinstance(windows, Windows):
            raise ConfigError(
                f"window() got {shorten(windows)}; give TumblingWindows(size), "
                "SlidingWindows(size, slide) or SessionWindows(gap)"
            )
        check_delay("allowed_lateness", allowed_lateness)
        if allowed_lateness and time.timestamp is None:
            raise ConfigError("allowed_lateness is for event time: give timestamp=, too")
        self._environment = environment
        self._inputs = inputs
        self._windows = windows
        self._time = time
        self._allowed_lateness = allowed_lateness
        self._late = _read_late(late)
        self._late_stream: Stream | None = None

    @property
    def late(self) -> Stream:
        """The records that came too late, with ``late="stream"``.

        Raises:
            GraphError: nothing reads the windows yet, or late records go elsewhere.
        """
        if self._late is not Late.STREAM:
            raise GraphError(f"late records go to {self._late.value!r}; say window(late='stream')")
        if self._late_stream is None:
            raise GraphError("call reduce, aggregate, apply, list or join on these windows first")
        return self._late_stream

    def _add(
        self, how: How, function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Stream:
        from sage.dataflow.stream import Stream

        if self._late_stream is not None:
            raise GraphError("these windows are read already; call window() again for another use")
        blueprint, options = split_arguments(function, args, kwargs, method=how.value)
        if blueprint.is_async:
            raise GraphError(
                f"{blueprint.label or how.value} is async, and windows run one record at a time"
            )
        inputs, time = with_time(self._environment, self._inputs, self._time)
        options["name"] = options.get("name") or self._environment.free_name("window")
        settings = WindowSettings(
            self._windows, how, time, self._allowed_lateness, self._late, options["name"]
        )
        node = self._environment.add_node(
            Kind.FLATMAP,
            replace(blueprint, wrap=partial(WindowOperator, settings=settings)),
            options,
            inputs=tuple(node.id for node in inputs),
            keyed=True,
        )
        if self._late is not Late.STREAM:
            return Stream(self._environment, node)
        self._late_stream = self._selected(node, LATE)
        return self._selected(node, RESULTS)

    def _selected(self, node: Node, name: str) -> Stream:
        from sage.dataflow.stream import Stream

        options = {"name": f"{node.name}.{name}", "workers": "thread"}
        return Stream(self._environment, node).add(Kind.FLATMAP, Blueprint(Selected(name)), options)


class WindowedStream(Windowing):
    """What ``window`` gives: each method makes a value of the records of each window.

    The results are `WindowResult` records, with the key and the window's start and end. A value of
    None emits nothing.
    """

    def reduce(self, function: Any, *args: Any, **kwargs: Any) -> Stream:
        """Combine the records of each window, two at a time.

        Args:
            function: of what was combined so far and the next record; it must be associative when
                windows are sessions, which grow together.
            args: of the constructor, when the function is a class.
            kwargs: of the constructor, and the operator's options.
        """
        return self._add(How.REDUCE, function, args, kwargs)

    def aggregate(self, function: Any, *args: Any, **kwargs: Any) -> Stream:
        """Gather the records of each window in an accumulator.

        Args:
            function: an `AggregateFunction`, an instance or a class.
            args: of the constructor.
            kwargs: of the constructor, and the operator's options.
        """
        kind = function if isinstance(function, type) else type(function)
        if not issubclass(kind, AggregateFunction):
            raise GraphError(f"aggregate() got {shorten(function)}; give an AggregateFunction")
        if self._windows.merging and kind.merge is AggregateFunction.merge:
            raise GraphError(f"{kind.__name__} does not define merge(), which sessions need")
        return self._add(How.AGGREGATE, function, args, kwargs)

    def apply(self, function: Any, *args: Any, **kwargs: Any) -> Stream:
        """Make a value of the list of each window's records, in the order in which they came.

        Args:
            function: of the list.
            args: of the constructor, when the function is a class.
            kwargs: of the constructor, and the operator's options.
        """
        return self._add(How.APPLY, function, args, kwargs)

    def list(self, **options: Any) -> Stream:
        """Emit the list of each window's records, in the order in which they came."""
        return self._add(How.APPLY, builtins.list, (), {**options})


class WindowedConnectedStreams(Windowing):
    """What ``window`` gives of two connected streams."""

    def join(self, function: Any, *args: Any, **kwargs: Any) -> Stream:
        """Make a value of each pair of records, one of each stream, that share key and window.

        The results are `WindowResult` records, one a pair; a value of None emits nothing. Pairs are
        made when the window emits, and all of them again when a late record that is still allowed
        makes it emit once more.

        Args:
            function: a `JoinFunction`, an instance or a class, or a callable of both records.
            args: of the constructor.
            kwargs: of the constructor, and the operator's options.
        """
        return self._add(How.JOIN, function, args, kwargs)


def _read_late(value: str) -> Late:
    try:
        return Late(value)
    except ValueError:
        choices = ", ".join(repr(choice.value) for choice in Late)
        raise ConfigError(f"late is {value!r}; choose one of {choices}") from None

"""Two streams that one operator reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sage.dataflow.blueprint import Blueprint, split_arguments
from sage.dataflow.context import RuntimeContext
from sage.dataflow.event_time import (
    TaggedTimestamp,
    TimestampFunction,
    check_timestamp_function,
)
from sage.dataflow.graph import Kind, Node
from sage.dataflow.lifecycle import Wrapper
from sage.errors import GraphError, shorten

if TYPE_CHECKING:
    from sage.dataflow.pipeline import Pipeline
    from sage.dataflow.stream import Stream
    from sage.dataflow.windowed import LateChoice, WindowedConnectedStreams
    from sage.dataflow.windows import Windows

FIRST, SECOND = 0, 1


class ConnectedStreams:
    """What ``connect`` gives: the records of both streams, each knowing which it came from."""

    def __init__(self, environment: Pipeline, inputs: tuple[Node, Node]) -> None:
        self._environment = environment
        self._inputs = inputs

    def comap(self, function: Any, *args: Any, **kwargs: Any) -> Stream:
        """Map each stream with a method of its own.

        Args:
            function: a `CoMapFunction`, an instance or a class.
            args: of the constructor.
            kwargs: of the constructor, and the operator's options.
        """
        blueprint, options = split_arguments(function, args, kwargs, method="comap")
        if not all(callable(getattr(function, name, None)) for name in ("map1", "map2")):
            raise GraphError(f"comap() got {shorten(function)}; give a CoMapFunction")
        node = self._environment.add_node(
            Kind.MAP,
            replace(blueprint, wrap=CoMapper),
            options,
            inputs=tuple(node.id for node in self._inputs),
        )
        return _stream(self._environment, node)

    def keyby(self, first: Any, second: Any) -> KeyedConnectedStreams:
        """Give the records of each stream their keys.

        Args:
            first: returns the key of a record of the first stream.
            second: returns the key of a record of the second stream.
        """
        keyed = tuple(
            self._environment.add_node(
                Kind.KEYBY,
                Blueprint(function, wrap=OnTagged),
                {
                    "name": self._environment.free_name("keyby"),
                    "parallelism": node.parallelism,
                },
                inputs=(node.id,),
            )
            for node, function in zip(self._inputs, (first, second), strict=True)
        )
        return KeyedConnectedStreams(self._environment, keyed)


class KeyedConnectedStreams:
    """Two streams whose records have keys."""

    def __init__(self, environment: Pipeline, inputs: tuple[Node, ...]) -> None:
        self._environment = environment
        self._inputs = inputs

    def join(self, function: Any, *args: Any, **kwargs: Any) -> Stream:
        """Make a record of each pair of records, one of each stream, that share a key.

        Every record is kept until the job ends, so the streams should be bounded; ``window``
        before it bounds what is kept.

        Args:
            function: a `JoinFunction`, an instance or a class, or a callable of both records; a
                pair for which it returns None emits nothing.
            args: of the constructor.
            kwargs: of the constructor, and the operator's options.
        """
        blueprint, options = split_arguments(function, args, kwargs, method="join")
        options.setdefault("name", self._environment.free_name(blueprint.label or "join"))
        node = self._environment.add_node(
            Kind.FLATMAP,
            replace(blueprint, wrap=Joiner),
            options,
            inputs=tuple(node.id for node in self._inputs),
            keyed=True,
        )
        return _stream(self._environment, node)

    def window(
        self,
        windows: Windows,
        *,
        timestamp: TimestampFunction | tuple[TimestampFunction, TimestampFunction] | None = None,
        out_of_orderness: float | None = None,
        allowed_lateness: float = 0.0,
        late: LateChoice = "dead_letter",
    ) -> WindowedConnectedStreams:
        """Divide the records of each key into windows of time, those of both streams together.

        The watermark is that of the stream which is behind.

        Args:
            windows: `TumblingWindows`, `SlidingWindows` or `SessionWindows`.
            timestamp: returns a record's time; a pair of functions when the streams need one each;
                None for processing time.
            out_of_orderness: see `KeyedStream.window`; of each stream by itself.
            allowed_lateness: see `KeyedStream.window`.
            late: see `KeyedStream.window`.

        Raises:
            ConfigError: a value is wrong.
        """
        functions: Any = timestamp if isinstance(timestamp, tuple) else (timestamp, timestamp)
        if timestamp is not None:
            for function in functions:
                check_timestamp_function(function)
        from sage.dataflow.windowed import EventTimeOptions, WindowedConnectedStreams

        return WindowedConnectedStreams(
            self._environment,
            self._inputs,
            windows,
            EventTimeOptions(TaggedTimestamp(functions) if timestamp else None, out_of_orderness),
            allowed_lateness=allowed_lateness,
            late=late,
        )


class Tag:
    """Marks each record with the stream that it came from.

    Args:
        side: which stream.
    """

    def __init__(self, side: int) -> None:
        self._side = side

    def execute(self, record: Any) -> tuple[int, Any]:
        """Return the marked record."""
        return self._side, record


class OnTagged(Wrapper):
    """Runs the user's function on the record of a marked one."""

    def execute(self, tagged: tuple[int, Any]) -> Any:
        """Return what the function says of the record."""
        return self.call(tagged[1])

    def shown(self, record: Any) -> Any:
        """Return the user's record, for errors."""
        return record[1]


class CoMapper(Wrapper):
    """Runs one of two methods, by the stream that a record came from."""

    def __init__(self, target: Any) -> None:
        super().__init__(target)
        self._methods: tuple[Callable[[Any], Any], ...] = (target.map1, target.map2)

    def execute(self, tagged: tuple[int, Any]) -> Any:
        """Return what the record's method returns."""
        side, record = tagged
        return self._methods[side](record)

    def flush(self) -> Any:
        """Flush the user's object."""
        flush = getattr(self.target, "flush", None)
        return None if flush is None else flush()

    def settle(self) -> list[Any]:
        """Flush the user's object."""
        record = self.flush()
        return [] if record is None else [record]

    def shown(self, record: Any) -> Any:
        """Return the user's record, for errors."""
        return record[1]


# What is kept of each key is kept under these names, in the keyed state.
KEPT = ("sage.joined.first", "sage.joined.second")


class Joiner(Wrapper):
    """Joins each record with those of the other stream that have its key."""

    def __init__(self, target: Any) -> None:
        super().__init__(target)
        self._kept: tuple[dict[Any, list[Any]], ...] = ({}, {})
        self._context: RuntimeContext | None = None

    def open(self, context: RuntimeContext) -> Any:
        """Open the user's object."""
        self._context = context
        self._kept = tuple(context.state.table(name) for name in KEPT)
        return super().open(context)

    def execute(self, tagged: tuple[int, Any]) -> list[Any]:
        """Keep a record and return what it makes with those kept before."""
        assert self._context is not None
        side, record = tagged
        key = self._context.key
        others = self._kept[1 - side].get(key, ())
        if side == FIRST:
            joined = [self.call(record, other) for other in others]
        else:
            joined = [self.call(other, record) for other in others]
        # Not before: a record on which the function raises may be tried again.
        self._kept[side].setdefault(key, []).append(record)
        return [each for each in joined if each is not None]

    def shown(self, record: Any) -> Any:
        """Return the user's record, for errors."""
        return record[1]


def _stream(environment: Pipeline, node: Node) -> Stream:
    from sage.dataflow.stream import Stream

    return Stream(environment, node)

"""A stream whose records have keys."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from sage.dataflow.blueprint import Blueprint, split_arguments
from sage.dataflow.context import RuntimeContext
from sage.dataflow.event_time import TimestampFunction
from sage.dataflow.graph import Kind
from sage.dataflow.lifecycle import Wrapper
from sage.dataflow.process_operator import ProcessOperator
from sage.dataflow.sinks.choose import choose_sink
from sage.dataflow.windowed import EventTimeOptions, LateChoice, WindowedStream, with_time
from sage.dataflow.windows import Windows
from sage.errors import ConfigError, GraphError

if TYPE_CHECKING:
    from sage.dataflow.stream import Stream

Emit = Literal["update", "end"]


class KeyedStream:
    """What ``keyby`` gives: its operators see the key as ``context.key`` and may keep state by it.

    All records of a key go to the same replica, in their order. What these operators emit has no
    key; put another ``keyby`` after them to go on by key.
    """

    def __init__(self, pairs: Stream) -> None:
        self._pairs = pairs

    def map(self, function: Any, *args: Any, **kwargs: Any) -> Stream:
        """Turn each record into one, with the key and its state at hand."""
        return self._add(Kind.MAP, function, args, kwargs)

    def flatmap(self, function: Any, *args: Any, **kwargs: Any) -> Stream:
        """Turn each record into any number, with the key and its state at hand."""
        return self._add(Kind.FLATMAP, function, args, kwargs)

    def filter(self, function: Any, *args: Any, **kwargs: Any) -> Stream:
        """Keep the records for which the function is true, with the key and its state at hand."""
        return self._add(Kind.FILTER, function, args, kwargs)

    def sink(self, function: Any, *args: Any, **kwargs: Any) -> Stream:
        """Give each record to a function, a file or a list, as `Stream.sink` does.

        All records of a key go to the same replica.
        """
        choice = choose_sink(function, args, kwargs, self._pairs.environment.free_name)
        if choice is None:
            return self._add(Kind.SINK, function, args, kwargs)
        return self._pairs.add(Kind.SINK, *choice, keyed=True)

    def reduce(self, function: Any, *args: Any, emit: Emit = "update", **kwargs: Any) -> Stream:
        """Combine the records of each key, two at a time.

        Args:
            function: of what was combined so far and the next record; a key's first record is
                what is combined at first.
            args: of the constructor, when the function is a class.
            emit: "update" emits what is combined after each record; "end" emits it once a key,
                when the input has ended.
            kwargs: of the constructor, and the operator's options.
        """
        if emit not in ("update", "end"):
            raise ConfigError(f"emit is {emit!r}; choose 'update' or 'end'")
        wrap = partial(Reducer, emit=emit)
        kwargs.setdefault("name", self._pairs.environment.free_name("reduce"))
        return self._add(Kind.FLATMAP, function, args, kwargs, wrap)

    def process(
        self,
        function: Any,
        *args: Any,
        on_timer: Callable[[float, RuntimeContext], Any] | None = None,
        timestamp: TimestampFunction | None = None,
        out_of_orderness: float | None = None,
        **kwargs: Any,
    ) -> Stream:
        """Turn records and timers into any number of records, with the key's state at hand.

        ``context.timer(at)`` sets a timer for the key; ``on_timer`` is called when it has come,
        before any record of a later time. Timers that are still set when the input ends are called
        then, each once.

        Args:
            function: a `ProcessFunction`, an instance or a class, or a callable of a record and
                the `RuntimeContext` that returns or yields records.
            args: of the constructor.
            on_timer: with a callable, what is called with a timer's time and the context.
            timestamp: returns a record's time, for event-time timers; None where only the clock
                matters, or the stream has watermarks already.
            out_of_orderness: see `window`.
            kwargs: of the constructor, and the operator's options.

        Raises:
            ConfigError: a value is wrong.
        """
        environment = self._pairs.environment
        time_options = EventTimeOptions(timestamp, out_of_orderness)
        blueprint, options = split_arguments(function, args, kwargs, method="process")
        if on_timer is not None and (blueprint.is_class or blueprint.is_instance):
            raise GraphError(
                f"{blueprint.label} is an operator: define on_timer() in it instead of giving one"
            )
        self._refuse_async(blueprint, "process")
        inputs, time = with_time(environment, self._pairs.nodes, time_options)
        has_event_time = all(environment.has_event_time(node) for node in inputs)
        wrap = partial(ProcessOperator, time=time, has_event_time=has_event_time, on_timer=on_timer)
        options.setdefault("name", environment.free_name(blueprint.label or "process"))
        pairs = type(self._pairs)(environment, *inputs)
        return pairs.add(Kind.FLATMAP, replace(blueprint, wrap=wrap), options, keyed=True)

    def window(
        self,
        windows: Windows,
        *,
        timestamp: TimestampFunction | None = None,
        out_of_orderness: float | None = None,
        allowed_lateness: float = 0.0,
        late: LateChoice = "dead_letter",
    ) -> WindowedStream:
        """Divide the records of each key into windows of time.

        In event time a window emits when the watermark passes its end: the latest timestamp that
        was seen, less ``out_of_orderness``. In processing time it emits by the clock. Whatever is
        open when the input ends is emitted then.

        Args:
            windows: `TumblingWindows`, `SlidingWindows` or `SessionWindows`.
            timestamp: returns a record's time, a number in any unit; None for processing time, in
                seconds since the epoch.
            out_of_orderness: how much earlier than the latest record another one may be and still
                be waited for, in the timestamps' unit. By default the watermarks are those of
                `Stream.event_time` or windows further up, or, where there are none, 0 behind the
                latest record. Giving it makes watermarks of this stream's records, in place of any
                from further up.
            allowed_lateness: how long after its end a window is kept, in the timestamps' unit; a
                record that comes until then makes it emit again, with the next ``revision``.
            late: what becomes of records that come later still. They are counted (``late`` among
                the operator's metrics), and "dead_letter" hands them to the job's dead letters,
                "stream" emits them in `WindowedStream.late`, "drop" does nothing more.

        Raises:
            ConfigError: a value is wrong.
        """
        return WindowedStream(
            self._pairs.environment,
            self._pairs.nodes,
            windows,
            EventTimeOptions(timestamp, out_of_orderness),
            allowed_lateness=allowed_lateness,
            late=late,
        )

    def _add(
        self,
        kind: Kind,
        function: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        wrap: Callable[[Any], Any] | None = None,
    ) -> Stream:
        blueprint, options = split_arguments(function, args, kwargs, method=kind.value)
        self._refuse_async(blueprint, kind.value)
        return self._pairs.add(kind, replace(blueprint, wrap=wrap), options, keyed=True)

    @staticmethod
    def _refuse_async(blueprint: Blueprint, method: str) -> None:
        if blueprint.is_async:
            raise GraphError(
                f"{blueprint.label or method} is async, and keyed operators run one record at "
                "a time; put the async operator before keyby()"
            )


# What is combined of each key is kept under this name, in the keyed state.
COMBINED = "sage.combined"


class Reducer(Wrapper):
    """Runs a reduce function over what it has combined by key.

    Args:
        target: the user's callable or operator object.
        emit: when to emit.
    """

    def __init__(self, target: Any, *, emit: Emit) -> None:
        super().__init__(target)
        self._emit = emit
        self._combined: dict[Any, Any] = {}
        self._context: RuntimeContext | None = None

    def open(self, context: RuntimeContext) -> Any:
        """Open the user's object."""
        self._context = context
        self._combined = context.state.table(COMBINED)
        return super().open(context)

    def execute(self, record: Any) -> Iterable[Any] | None:
        """Combine a record into its key's."""
        assert self._context is not None
        key = self._context.key
        combined = self._combined
        combined[key] = self.call(combined[key], record) if key in combined else record
        return (combined[key],) if self._emit == "update" else None

    def flush(self) -> Iterable[Any] | None:
        """Emit each key's result, in the order in which the keys came."""
        return self._combined.values() if self._emit == "end" else None

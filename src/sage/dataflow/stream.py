"""A stream: what an operator emits, and the operators that can read it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from sage.dataflow.batching import Batcher, estimate_tokens
from sage.dataflow.blueprint import Blueprint, split_arguments
from sage.dataflow.connected import ConnectedStreams, Tag
from sage.dataflow.event_time import (
    TimestampFunction,
    WatermarkSource,
    check_delay,
    check_timestamp_function,
)
from sage.dataflow.graph import Kind, Node
from sage.dataflow.keyed import KeyedStream
from sage.dataflow.models.stream import ModelStream
from sage.dataflow.sinks.choose import choose_sink
from sage.dataflow.splitting import SplitStream
from sage.errors import ConfigError, GraphError, shorten

if TYPE_CHECKING:
    from sage.dataflow.pipeline import Pipeline


# Operators of our own do too little to be worth a hop to another process.
HERE = {"workers": "thread"}


class Stream(ModelStream):
    """What an operator emits. Its methods add operators; nothing runs before ``submit``.

    Every method takes an operator object, a class with its constructor's arguments, or a plain
    callable, and the operator's options:

    - ``name``: for metrics, errors and the plan; by default that of the class or function.
    - ``parallelism``: replicas, by default the environment's. An instance is copied for each when
      there are several. Records keep their order through operators of parallelism 1.
    - ``workers``: "thread", or "process" for operators that compute: each replica in a process of
      its own, on a core of its own.
    - ``concurrency`` and ``ordered``, when the function or ``execute`` is ``async def``: how many
      records are in flight at once in each replica (64), and whether results keep their order.
    - ``retry``: attempts for a record on which it raises, or a `RetryPolicy`.
    - ``on_error``: after those, "raise" stops the job, "skip" counts the record as failed and goes
      on, "dead_letter" also puts it among the job's dead letters.
    - ``timeout``: seconds for a record, of an ``async def`` or in process workers; a call that
      takes longer is ended and fails with `OperatorTimeoutError`.
    - ``cpus`` and ``gpus``: what each replica needs of the machine; see `OperatorOptions`.
    """

    def __init__(self, environment: Pipeline, *nodes: Node) -> None:
        self.environment = environment
        self.nodes = nodes

    def map(
        self,
        function: Any,
        *args: Any,
        remember: str | Path | bool | None = None,
        version: str | None = None,
        **kwargs: Any,
    ) -> Self:
        """Turn each record into one; a record for which the function returns None is dropped.

        With ``remember`` results are kept in a file, so that a job that was killed goes on where it
        was, and a second run computes nothing: ``stream.map(parse, remember="parsed.sqlite")``. A
        result is kept by the content of its record, the operator's name and ``version``, wherever
        the record comes from and in whatever order. The function must depend on nothing else; give
        another version when it changes. Records are texts, bytes, numbers, lists, dicts, numpy
        arrays, dataclasses and the like; one of another kind is an error. Results are pickled, so
        the file is to be trusted as code is. A kill loses the results of the last quarter of a
        second at most. The operator's metrics count ``remembered`` and ``computed`` records.

        Args:
            function: a callable, an operator, or a class of such.
            args: of the constructor, when it is a class.
            remember: the file, which several replicas, processes and jobs may use at once; True for
                one of the environment's name in the user's cache folder.
            version: of the function, "1" by default; without ``remember`` it is the constructor's.
            kwargs: of the constructor, and the operator's options.

        Raises:
            ConfigError: ``remember`` is no file.
            GraphError: ``remember`` with a function that has no name and was given none, or with an
                operator that keeps something from one record to the next.
        """
        if remember is None or remember is False:
            named = {} if version is None else {"version": version}
            return self._add(Kind.MAP, function, args, {**kwargs, **named})
        from sage.dataflow.remembering import remembered, results_path

        blueprint, options = self._split(Kind.MAP, function, args, kwargs)
        path = results_path(remember, job=self.environment.name)
        return self.add(Kind.MAP, remembered(blueprint, options, path, str(version or 1)), options)

    def flatmap(self, function: Any, *args: Any, **kwargs: Any) -> Self:
        """Turn each record into any number: the function returns or yields them."""
        return self._add(Kind.FLATMAP, function, args, kwargs)

    def filter(self, function: Any, *args: Any, **kwargs: Any) -> Self:
        """Keep the records for which the function is true."""
        return self._add(Kind.FILTER, function, args, kwargs)

    def batch(
        self,
        size: int,
        timeout: float | None = None,
        *,
        max_tokens: int | None = None,
        tokens: Callable[[Any], int] = estimate_tokens,
        **options: Any,
    ) -> Self:
        """Gather records into lists.

        Args:
            size: most records of a list.
            timeout: seconds that the first record of a list waits at most, by a timer; None waits
                for a full list, or the end of the input.
            max_tokens: most tokens of a list; a record with more makes a list of its own.
            tokens: counts a record's tokens; by default a quarter of a text's characters.
            options: the operator's options.
        """
        options.setdefault("name", self.environment.free_name("batch"))
        arguments = {"size": size, "timeout": timeout, "max_tokens": max_tokens, "tokens": tokens}
        Batcher(**arguments)  # type: ignore[arg-type]  # wrong values fail here, not in a replica
        return self._add(Kind.FLATMAP, Batcher, (), {**arguments, **HERE, **options})

    def event_time(
        self,
        timestamp: TimestampFunction,
        out_of_orderness: float = 0.0,
        *,
        idle_after: float | None = None,
        **options: Any,
    ) -> Self:
        """Tell the windows further down how far time has gone on; the records stay as they are.

        For streams that come together: after a union the watermark is the earliest of its inputs'.
        A single stream needs no more than ``window(timestamp=…)``. An operator that holds records
        back (``batch``) belongs before this one.

        Args:
            timestamp: returns a record's time, a number in any unit.
            out_of_orderness: how much earlier than the latest record another one may be and still
                be waited for, in the timestamps' unit.
            idle_after: seconds without a record after which the other inputs of a union do not wait
                for this one; what it gives when it wakes may be late. None waits for ever.
            options: the operator's options.

        Raises:
            ConfigError: a value is wrong.
        """
        check_timestamp_function(timestamp)
        check_delay("out_of_orderness", out_of_orderness)
        if idle_after is not None and idle_after <= 0:
            raise ConfigError(f"idle_after is {idle_after!r}; give seconds above 0, or None")
        options.setdefault("name", self.environment.free_name("event_time"))
        options.setdefault("parallelism", self.nodes[0].parallelism)
        arguments = {
            "timestamp": timestamp,
            "out_of_orderness": out_of_orderness,
            "idle_after": idle_after,
        }
        return self._add(Kind.MAP, WatermarkSource, (), {**arguments, **HERE, **options})

    def keyby(self, function: Any, *args: Any, **kwargs: Any) -> KeyedStream:
        """Give each record the key that the function returns; see `sage.dataflow.keys`."""
        kwargs.setdefault("name", self.environment.free_name("keyby"))
        kwargs.setdefault("parallelism", self.nodes[0].parallelism)
        return KeyedStream(self._add(Kind.KEYBY, function, args, kwargs))

    def sink(self, function: Any, *args: Any, **kwargs: Any) -> Self:
        """Give each record to a function, a file or a list; the end of the stream.

        Args:
            function: a callable, a `SinkFunction`, a list to append to, or a path to write.

                ``"out.jsonl"``: a record a line. Written as ``out.jsonl.part``, it gets its name
                when the input has ended; ``append=True`` writes behind what the file holds, at most
                a second after the record. With ``parallelism`` above 1, each replica has a file:
                ``out-0.jsonl``. Bytes are written in base 64, NaN as null.

                ``"out.parquet"``: dicts are rows of one file, written when the input has ended.
                ``"out/"`` with ``format="parquet"``: part files in a folder, which replicas may
                share; those of an earlier job are replaced. ``schema`` is a `pyarrow.Schema`, by
                default inferred from the first 1,024 records; ``rows_per_group`` is 100,000.

                Going on from a checkpoint takes back what was written after it, so that each record
                is there once.
            args: of a class.
            kwargs: of a class or of the above, ``format`` ("jsonl" or "parquet") for a path whose
                name does not tell, and the operator's options.

        Raises:
            ConfigError: a path tells no format, or an option is not for it.
        """
        choice = choose_sink(function, args, kwargs, self.environment.free_name)
        if choice is None:
            return self._add(Kind.SINK, function, args, kwargs)
        return self.add(Kind.SINK, *choice)

    def print(self, prefix: str = "", **options: Any) -> Self:
        """Write each record on standard output, a line each."""
        options.setdefault("name", self.environment.free_name("print"))
        return self._add(Kind.SINK, _Printer(prefix), (), options)

    def union(self, *others: Stream) -> Self:
        """Put the records of several streams into one, as they come.

        Raises:
            GraphError: a stream is given twice, or is of another environment.
        """
        self._check_environment("union", *others)
        nodes = self.nodes + tuple(node for other in others for node in other.nodes)
        if len({node.id for node in nodes}) < len(nodes):
            raise GraphError("union() got the same stream twice; copy it with map() first")
        return type(self)(self.environment, *nodes)

    def connect(self, other: Stream) -> ConnectedStreams:
        """Read two streams with one operator that tells their records apart."""
        self._check_environment("connect", other)
        sides = (
            stream.add(
                Kind.MAP, Blueprint(Tag(side)), {"name": self.environment.free_name(name), **HERE}
            )
            for side, (name, stream) in enumerate((("first", self), ("second", other)))
        )
        first, second = (side.nodes[0] for side in sides)
        return ConnectedStreams(self.environment, (first, second))

    def split(self, function: Any, *args: Any, **kwargs: Any) -> SplitStream:
        """Divide the stream: the function names the stream that each record goes to.

        ``stream.split(kind)["error"]`` is the stream of the records for which ``kind`` returned
        "error". A name that nothing reads is an error of the operator.
        """
        return SplitStream(self, function, args, kwargs)

    def fill_future(self, future: Stream) -> None:
        """Let a stream from ``from_future`` give what comes out here: a feedback loop.

        What comes back waits without a bound, so that the loop never stops itself.

        Args:
            future: that stream, as ``from_future`` returned it.

        Raises:
            GraphError: it is another stream, or was filled already.
        """
        self._check_environment("fill_future", future)
        if len(future.nodes) != 1 or not future.nodes[0].future:
            raise GraphError("fill_future() got a stream that from_future() did not return")
        for node in self.nodes:
            if node.kind is Kind.SINK:
                raise GraphError(f"{node.name!r} is a sink: nothing comes out of it")
        self.environment.fill(future.nodes[0], tuple(node.id for node in self.nodes))

    def add(
        self, kind: Kind, blueprint: Blueprint, options: Mapping[str, Any], *, keyed: bool = False
    ) -> Self:
        """Add an operator that reads this stream; the methods above call this.

        Raises:
            GraphError: nothing can come after a sink.
        """
        for node in self.nodes:
            if node.kind is Kind.SINK:
                raise GraphError(f"{node.name!r} is a sink: nothing comes out of it")
        inputs = tuple(node.id for node in self.nodes)
        node = self.environment.add_node(kind, blueprint, options, inputs=inputs, keyed=keyed)
        return type(self)(self.environment, node)

    def _add(
        self, kind: Kind, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Self:
        return self.add(kind, *self._split(kind, function, args, kwargs))

    def _split(
        self, kind: Kind, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Blueprint, dict[str, Any]]:
        blueprint, options = split_arguments(function, args, kwargs, method=kind.value)
        if not (blueprint.is_class or blueprint.is_instance or callable(function)):
            raise GraphError(
                f"{kind.value}() got {shorten(function)}; give a callable, an operator with "
                "execute(), or a class of such"
            )
        return blueprint, options

    def _check_environment(self, method: str, *others: Stream) -> None:
        for other in others:
            if other.environment is not self.environment:
                raise GraphError(
                    f"{method}() got a stream of environment {other.environment.name!r}, not of "
                    f"{self.environment.name!r}"
                )


class _Printer:
    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def __call__(self, record: Any) -> None:
        # One write a line: replicas share standard output.
        sys.stdout.write(f"{self._prefix}{record}\n")

"""A pipeline in the making: where streams begin, and the graph that they build."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from sage.dataflow.blueprint import Blueprint, class_options, split_arguments
from sage.dataflow.config import EnvironmentConfig
from sage.dataflow.dead_letters import DeadLetter
from sage.dataflow.event_time import WatermarkSource
from sage.dataflow.feedback import Feedback
from sage.dataflow.files.formats import FileFormat, ReadOptions, check_installed, read_format
from sage.dataflow.files.locate import PathLike as FilePath
from sage.dataflow.files.locate import find_files
from sage.dataflow.files.source import FileSource
from sage.dataflow.functions.edges import SinkFunction
from sage.dataflow.graph import Graph, Kind, Node
from sage.dataflow.letter_file import LetterFile
from sage.dataflow.options import OperatorOptions
from sage.dataflow.plan import make_plan
from sage.dataflow.services import Registration
from sage.dataflow.source import is_eager
from sage.dataflow.stream import Stream
from sage.dataflow.timeouts import check_timeout
from sage.dataflow.workers import Workers
from sage.errors import ConfigError, GraphError, shorten


class Pipeline:
    """Builds a pipeline; environments derive from it and run it.

    Args:
        name: for logs and the summary.
        config: keys of `EnvironmentConfig`.

    Raises:
        UnknownKeyError: a key of ``config`` does not exist.
        ConfigError: a value is wrong.
    """

    def __init__(self, name: str, config: Mapping[str, Any] | None) -> None:
        self.name = name
        self.config = EnvironmentConfig.from_mapping(config)
        self._graph = Graph()
        self._registrations: list[Registration] = []
        self._dead_letter_sink: Any = None
        self._on_ray = False

    def on_dead_letter(
        self, sink: Callable[[DeadLetter], Any] | SinkFunction | str | PathLike[str]
    ) -> None:
        """Hand every dead letter to a sink, one at a time, instead of keeping it.

        Dead letters are the records that operators with ``on_error="dead_letter"`` gave up;
        `JobResult.dead_letters` has them otherwise.

        Args:
            sink: a function of a `DeadLetter`; a `SinkFunction`, which is opened and closed with
                the job; or the path of a file to which each one is appended as a line of JSON.

        Raises:
            ConfigError: it is none of these.
        """
        target = LetterFile(sink) if isinstance(sink, (str, PathLike)) else sink
        blueprint = Blueprint(target)
        if not (blueprint.is_instance or callable(target)) or blueprint.is_class:
            raise ConfigError(
                f"on_dead_letter() got {shorten(sink)}; give a function, a path or a SinkFunction "
                "object"
            )
        if blueprint.is_async:
            raise ConfigError(f"on_dead_letter() got {shorten(sink)}, which is async; it cannot be")
        self._dead_letter_sink = target

    def register_service(
        self, name: str, factory: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> None:
        """Let operators share something: a model, a connection, a cache.

        Operators ask for it by ``self.call_service(name)`` or ``context.service(name)``. The first
        one that does makes it, and every operator and replica of the job in that process gets the
        same instance, so its methods must bear calls from several threads. Each worker process
        makes its own. If it has ``open()`` and ``close()``, they are called once: the one when it
        has been made, the other when the job has ended or begins again after a failure. The last
        made is closed first.

        Args:
            name: of the service.
            factory: a class, or a function that returns it.
            args: of the factory.
            kwargs: of the factory.

        Raises:
            ConfigError: the name is taken, or the arguments do not fit the factory.
        """
        if any(registration.name == name for registration in self._registrations):
            raise ConfigError(f"there is already a service named {name!r}; names are unique")
        self._registrations.append(Registration(name, factory, args, kwargs))

    def from_source(self, source: Any, *args: Any, **kwargs: Any) -> Stream:
        """Begin a stream.

        Args:
            source: a `SourceFunction` (its None means nothing now, StopIteration ends it), a
                `BatchFunction` (its None ends it), a class of either with its constructor's
                arguments, an iterable, or a function that yields records. A generator may yield
                None for nothing now.
            args: of the constructor.
            kwargs: of the constructor, and the operator's options. With ``parallelism`` above 1,
                each replica of a source gives records of its own; ``context.index`` tells them
                apart.
        """
        return self._add_source(source, args, kwargs, method="from_source", bounded=False)

    def from_batch(self, source: Any, *args: Any, **kwargs: Any) -> Stream:
        """Begin a stream that ends: as `from_source`, but None from ``execute`` ends it."""
        return self._add_source(source, args, kwargs, method="from_batch", bounded=True)

    def from_collection(self, records: Iterable[Any], **options: Any) -> Stream:
        """Begin a stream of the records of an iterable."""
        if not isinstance(records, Iterable) or isinstance(records, type):
            raise GraphError(f"from_collection() got {shorten(records)}; give an iterable")
        options.setdefault("name", self.free_name("collection"))
        return self._add_source(records, (), options, method="from_collection", bounded=True)

    def from_files(
        self,
        paths: FilePath | Iterable[FilePath],
        format: str | None = None,  # noqa: A002 - the word that users know
        *,
        offsets: bool = False,
        encoding: str = "utf-8",
        delimiter: str = ",",
        columns: Iterable[str] | None = None,
        **options: Any,
    ) -> Stream:
        """Begin a stream of the records of files, one file after the other.

        Args:
            paths: files, globs (``**`` for folders within folders), or URLs where fsspec is
                installed; one or several. Files whose name ends in ``.gz`` are unpacked.
            format: "text" (a record is a line), "jsonl" (a value a line), "csv" (a dict a row,
                named by the first line) or "parquet" (a dict a row; needs pyarrow). None goes by
                the names.
            offsets: give `FileRecord` records, with the file and where in it each begins.
            encoding: of text, JSONL and CSV.
            delimiter: of CSV.
            columns: of Parquet, those to read; None reads all.
            options: the operator's options. With ``parallelism`` above 1, replicas share out the
                files.

        Raises:
            GraphError: a path names no file.
            ConfigError: the format is not known, or a value is wrong.
        """
        files = find_files(paths)
        format_ = read_format(format, files)
        check_installed(format_)
        if columns is not None and format_ is not FileFormat.PARQUET:
            raise ConfigError(f"columns is for Parquet, not for {format_.value!r}")
        read = ReadOptions(encoding, delimiter, None if columns is None else tuple(columns))
        arguments = {"files": files, "format_": format_, "read": read, "offsets": offsets}
        options.setdefault("name", self.free_name("files"))
        # Files are read as they are needed, but never waited for.
        node = self.add_node(
            Kind.SOURCE, Blueprint(FileSource, kwargs=arguments), options, eager=True
        )
        return Stream(self, node)

    def from_kafka_source(
        self,
        bootstrap_servers: str | Iterable[str],
        topics: str | Iterable[str],
        *,
        value_format: str = "json",
        start: str = "earliest",
        group_id: str = "sage",
        bounded: bool = False,
        metadata: bool = False,
        timeout: float = 10.0,
        config: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Stream:
        """Begin a stream of the records of Kafka topics; needs ``sage-stack[kafka]``.

        Args:
            bootstrap_servers: ``host:port``, one or several.
            topics: one name or several.
            value_format: "json", "text" (UTF-8) or "bytes". A value that is not so ends the job;
                to go on past it, read bytes and decode in a map with ``on_error``.
            start: without a checkpoint to go on from, "earliest" begins with what the topics hold,
                "latest" with what comes.
            group_id: what the brokers know the reader as, for their access rules. Nothing is
                committed to the group: offsets are kept in the job's checkpoints.
            bounded: end at what the topics hold when the job starts.
            metadata: give `KafkaRecord` records, with key, offset, time and headers. Without, a
                record whose value is None or null is left out, counted as ``empty_values``.
            timeout: seconds to wait for an answer of the brokers when the job starts. One that
                falls silent later is waited for.
            config: more of librdkafka's keys, such as ``security.protocol``.
            options: the operator's options. With ``parallelism`` above 1, replicas share out the
                partitions; those that are added while the job runs are read after a restart.

        Raises:
            ConfigError: a value is wrong, or confluent-kafka is not installed.
        """
        from sage.dataflow.kafka.client import load_client
        from sage.dataflow.kafka.options import KafkaOptions
        from sage.dataflow.kafka.source import KafkaSource

        load_client()
        read = KafkaOptions.read(
            bootstrap_servers,
            topics,
            value_format=value_format,
            start=start,
            group_id=group_id,
            bounded=bounded,
            metadata=metadata,
            timeout=timeout,
            config=dict(config or {}),
        )
        options.setdefault("name", self.free_name("kafka"))
        blueprint = Blueprint(KafkaSource, (read,))
        return Stream(self, self.add_node(Kind.SOURCE, blueprint, options, bounded=False))

    def from_future(self, name: str) -> Stream:
        """Begin a stream with what comes out further down: a feedback loop.

        ``stream.fill_future(future)`` says what that is. The loop ends when its other inputs have
        ended and no record goes round in it any more.

        Args:
            name: of the operator.
        """
        node = self.add_node(
            Kind.MAP,
            Blueprint(Feedback),
            {"name": name, "parallelism": 1, "workers": "thread"},
            future=True,
        )
        return Stream(self, node)

    def fill(self, future: Node, inputs: tuple[int, ...]) -> None:
        """Let a future read operators; `Stream.fill_future` calls this."""
        self._graph.fill(future, inputs)

    def explain(
        self,
        format: Literal["text", "mermaid", "svg"] = "text",  # noqa: A002 - as in from_files
        *,
        path: str | PathLike[str] | None = None,
    ) -> str:
        """Draw the plan: which operators run together and where, and what lies between.

        Args:
            format: "text", "mermaid" (a flowchart) or "svg" (a document that needs nothing else).
            path: a file to write it to as well.

        Returns:
            the drawing.

        Raises:
            GraphError: the pipeline cannot run.
            ConfigError: there is no such format.
            OSError: the file cannot be written.
        """
        from sage.dataflow.drawing import draw
        from sage.dataflow.drawing.facts import Site

        site = Site(self.config, on_ray=self._on_ray)
        drawing = draw(self.name, make_plan(self._graph), site, format)
        if path is not None:
            Path(path).write_text(drawing + "\n", encoding="utf-8")
        return drawing

    def free_name(self, base: str) -> str:
        """Return ``base``, with a number when it is taken."""
        return self._graph.free_name(base)

    def add_node(
        self,
        kind: Kind,
        blueprint: Blueprint,
        options: Mapping[str, Any],
        *,
        inputs: tuple[int, ...] = (),
        eager: bool = False,
        bounded: bool = True,
        keyed: bool = False,
        future: bool = False,
    ) -> Node:
        """Add an operator to the graph; streams call this."""
        merged = OperatorOptions.merged(f"{kind.value}()", class_options(blueprint), options)
        if kind in (Kind.SOURCE, Kind.KEYBY) and merged.handles_errors:
            raise GraphError(
                f"a {kind.value} cannot have on_error or retry; its errors end the job"
            )
        workers = self._workers(kind, blueprint, merged.workers)
        if merged.timeout is not None:
            check_timeout(kind, blueprint, workers)
        return self._graph.add(
            kind,
            blueprint,
            name=merged.name,
            parallelism=merged.parallelism or self._parallelism(kind),
            inputs=inputs,
            eager=eager,
            bounded=bounded,
            keyed=keyed,
            future=future,
            options=merged,
            workers=workers,
        )

    def has_event_time(self, node: Node) -> bool:
        """Say whether watermarks reach what reads an operator, along every way."""
        given = node.blueprint.given
        if isinstance(given, type) and issubclass(given, WatermarkSource):
            return True
        # A loop's own records have no watermark that could go round with them.
        inputs = [] if node.future else [self._graph.nodes[input_] for input_ in node.inputs]
        return bool(inputs) and all(self.has_event_time(input_) for input_ in inputs)

    def _workers(self, kind: Kind, blueprint: Blueprint, asked: Workers | None) -> Workers:
        """Say where an operator's replicas live."""
        # A sink in this process can gather what the caller reads after the run.
        stays = kind in (Kind.SOURCE, Kind.KEYBY) or blueprint.is_async
        if asked is Workers.PROCESS and stays:
            raise GraphError(
                f"{'an async operator' if blueprint.is_async else f'a {kind.value}'} cannot run in "
                "a process of its own; leave out workers='process'"
            )
        if asked is Workers.INLINE:
            raise ConfigError("workers='inline' is for a whole environment: put it in its config")
        if self.config.workers is Workers.INLINE:
            return Workers.THREAD
        if asked is not None:
            return asked
        return Workers.THREAD if stays or kind is Kind.SINK else self.config.workers

    def _parallelism(self, kind: Kind) -> int:
        return 1 if kind in (Kind.SOURCE, Kind.SINK) else self.config.parallelism

    def _add_source(
        self,
        source: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        method: str,
        bounded: bool,
    ) -> Stream:
        blueprint, options = split_arguments(source, args, kwargs, method=method)
        object_like = blueprint.is_class or blueprint.is_instance
        if isinstance(source, (str, bytes)):
            raise GraphError(f"{method}() got the text {shorten(source)}; put it in a list")
        if not (object_like or isinstance(source, Iterable) or callable(source)):
            raise GraphError(
                f"{method}() got {shorten(source)}; give a SourceFunction, an iterable or a "
                "function that yields records"
            )
        eager = not object_like and is_eager(source)
        if not object_like and not blueprint.label:
            options.setdefault("name", None)
        node = self.add_node(Kind.SOURCE, blueprint, options, eager=eager, bounded=bounded)
        if node.parallelism > 1 and isinstance(source, Iterable) and not object_like:
            raise GraphError(
                f"source {node.name!r} is one iterable and cannot have parallelism "
                f"{node.parallelism}; raise that of the operators after it"
            )
        return Stream(self, node)

"""from_source, from_batch, from_collection: where records come from."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from sage.dataflow import BatchFunction, LocalEnvironment, SourceFunction
from sage.errors import GraphError, OperatorError


class Hesitant(SourceFunction):
    """Has nothing every other time, and ends by StopIteration."""

    def __init__(self, count: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.count = count
        self.calls = 0

    def execute(self) -> int | None:
        self.calls += 1
        if self.calls > 2 * self.count:
            raise StopIteration
        return self.calls // 2 if self.calls % 2 == 0 else None


class Countdown(BatchFunction):
    """Ends by None."""

    def __init__(self, start: int = 3) -> None:
        self.left = start

    def execute(self) -> int | None:
        self.left -= 1
        return self.left + 1 if self.left >= 0 else None


def collected(env: LocalEnvironment, method: str, source: Any, **kwargs: Any) -> list[Any]:
    out: list[Any] = []
    getattr(env, method)(source, **kwargs).sink(out.append)
    env.submit(autostop=True)
    return out


def test_source_function(env: LocalEnvironment) -> None:
    """A SourceFunction's None means nothing now; StopIteration ends it."""
    assert collected(env, "from_source", Hesitant(5)) == [1, 2, 3, 4, 5]


def test_class_with_arguments(env: LocalEnvironment) -> None:
    """A class is constructed with the keyword arguments that are not options."""
    assert collected(env, "from_source", Hesitant, count=2, name="slow") == [1, 2]


@pytest.mark.parametrize("method", ["from_source", "from_batch"])
def test_batch_function(env: LocalEnvironment, method: str) -> None:
    """A BatchFunction's None ends it."""
    assert collected(env, method, Countdown(3)) == [3, 2, 1]


@pytest.mark.parametrize("method", ["from_source", "from_batch", "from_collection"])
@pytest.mark.parametrize("records", [[1, 2], (1, 2), range(1, 3), {1: "a", 2: "b"}, iter([1, 2])])
def test_iterables(method: str, records: Any) -> None:
    """Any iterable is a source."""
    records = iter([1, 2]) if isinstance(records, Iterator) else records
    assert collected(LocalEnvironment(), method, records) == [1, 2]


def test_generator_function(env: LocalEnvironment) -> None:
    """A function that yields is a source; None stands for nothing now."""

    def numbers() -> Iterator[int | None]:
        yield 1
        yield None
        yield 2

    assert collected(env, "from_source", numbers) == [1, 2]


def test_a_slow_source_keeps_no_record_back() -> None:
    """A record moves on while its source still waits for the next one."""
    arrived = threading.Event()

    def slow() -> Iterator[int]:
        yield from range(10)
        assert arrived.wait(20), "the records given did not arrive while the source waited"
        yield 10

    env = LocalEnvironment()
    seen: list[int] = []

    def sink(record: int) -> None:
        seen.append(record)
        if record == 9:
            arrived.set()

    env.from_source(slow).map(lambda x: x).sink(sink)
    env.submit(autostop=True)
    assert seen == list(range(11))


def test_unbounded_source_is_not_throttled() -> None:
    """A source that always has a record is read at full speed."""

    class Numbers(SourceFunction):
        def __init__(self) -> None:
            self.next = 0

        def execute(self) -> int:
            self.next += 1
            if self.next > 50_000:
                raise StopIteration
            return self.next

    env = LocalEnvironment()
    env.from_source(Numbers).sink(lambda _: None)
    assert env.submit(autostop=True).records_per_second > 20_000


def test_parallel_source(env: LocalEnvironment) -> None:
    """Each replica of a source gives records of its own."""

    class Shard(BatchFunction):
        def __init__(self) -> None:
            self.records: Iterator[int] = iter(())

        def open(self, context: Any) -> None:
            self.records = iter(range(context.index, 100, context.parallelism))

        def execute(self) -> int | None:
            return next(self.records, None)

    assert sorted(collected(env, "from_batch", Shard, parallelism=3)) == list(range(100))


def test_error_names_the_source(env: LocalEnvironment) -> None:
    """A source that raises fails the job by its name."""

    def broken() -> Iterator[int]:
        yield 1
        raise OSError("disk gone")

    env.from_source(broken).sink(lambda _: None)
    with pytest.raises(OperatorError, match=r"'broken'.*OSError: disk gone"):
        env.submit(autostop=True)


@pytest.mark.parametrize(
    ("source", "message"),
    [("a text", "put it in a list"), (5, "give a SourceFunction"), (b"bytes", "put it in a list")],
)
def test_what_is_no_source(source: Any, message: str) -> None:
    """A text or a number as a source is a mistake, and the error says what to do."""
    with pytest.raises(GraphError, match=message):
        LocalEnvironment().from_source(source)


def test_one_iterable_has_one_reader() -> None:
    """An iterable cannot be read by several replicas."""
    with pytest.raises(GraphError, match="parallelism"):
        LocalEnvironment().from_collection([1], parallelism=2)


def test_source_function_that_yields_nothing_iterable(env: LocalEnvironment) -> None:
    """A source function must return an iterable."""
    env.from_source(lambda: 5).sink(print)
    with pytest.raises(GraphError, match="must yield records"):
        env.submit(autostop=True)

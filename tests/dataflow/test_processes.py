"""Process workers: operators that compute, each replica in a process of its own."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from sage.dataflow import LocalEnvironment, MapFunction, RetryPolicy, RuntimeContext
from sage.errors import ConfigError, GraphError, OperatorError


@pytest.fixture(autouse=True)
def no_process_left() -> Iterator[None]:
    """Fail a test that leaves a process behind."""
    before = psutil.Process().children(recursive=True)
    yield
    # Others of this process may have some, such as a cluster that tests share.
    assert [one for one in psutil.Process().children(recursive=True) if one not in before] == []


class Where(MapFunction):
    """Emits the process it runs in; counts, and writes a file when it is closed."""

    def __init__(self, marks: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.marks = marks

    def open(self, context: RuntimeContext) -> None:
        self.index = context.index

    def execute(self, data: int) -> tuple[int, int]:
        assert self.context is not None
        self.context.metrics.add("seen")
        return data, os.getpid()

    def close(self) -> None:
        with open(f"{self.marks}/{self.index}", "w"):  # noqa: PTH123 - a marker
            pass


def fail_on_seven(record: int) -> int:
    if record == 7:
        raise ValueError("seven", "is no good")
    return record


def die(record: int) -> int:
    os._exit(3)


def unsendable(record: int) -> Any:
    return lambda: record


def add(left: int, right: int) -> int:
    return left + right


def parity(record: int) -> int:
    return record % 2


def process_env() -> LocalEnvironment:
    return LocalEnvironment("test", config={"workers": "process"})


def test_replicas_are_processes(tmp_path: Any) -> None:
    """Every record arrives once, from processes other than this one, which open and close."""
    env = process_env()
    out: list[tuple[int, int]] = []
    marks = tmp_path / "marks"
    marks.mkdir()
    env.from_collection(range(10_000)).map(Where(str(marks)), parallelism=2).sink(out.append)
    assert "stage 1 ×2 in processes: Where" in env.explain()
    result = env.submit(autostop=True)
    assert sorted(record for record, _ in out) == list(range(10_000))
    assert os.getpid() not in {process for _, process in out}
    assert sorted(path.name for path in marks.iterdir()) == ["0", "1"]
    report = result.operator("Where")
    assert (report.records_in, report.records_out) == (10_000, 10_000)
    assert report.metrics == {"seen": 10_000}


def test_one_operator_in_a_process() -> None:
    """workers="process" moves one operator; sinks and sources stay."""
    env = LocalEnvironment()
    out: list[int] = []
    env.from_collection([-1, 2]).map(abs, workers="process").map(lambda x: x + 1).sink(out.append)
    env.submit(autostop=True)
    assert out == [2, 3]


def test_error_names_the_operator_and_the_record() -> None:
    """An error comes back with its record and cause; what came before it went through."""
    env = process_env()
    out: list[int] = []
    env.from_collection(range(10)).map(fail_on_seven).sink(out.append)
    with pytest.raises(OperatorError, match="'fail_on_seven' failed on record 7") as raised:
        env.submit(autostop=True)
    assert raised.value.record == 7
    assert isinstance(raised.value.__cause__, ValueError)
    assert out == list(range(len(out)))
    assert env.last_job is not None
    assert env.last_job.result is not None
    assert env.last_job.result.failed == 1


def test_dead_letters_come_back() -> None:
    """Records given up in a process are in the job's result."""
    env = process_env()
    env.from_collection(range(10)).map(
        fail_on_seven, on_error="dead_letter", retry=RetryPolicy(attempts=2, first_delay=0.001)
    ).sink(lambda _: None)
    result = env.submit(autostop=True)
    (letter,) = result.dead_letters
    assert (letter.record, letter.attempts) == (7, 2)
    assert (result.records_out, result.failed) == (9, 1)


def test_keyed_operators() -> None:
    """Keys go to their process, and what is combined there comes out at the end."""
    env = process_env()
    out: list[int] = []
    env.from_collection(range(100)).keyby(parity).reduce(add, emit="end", parallelism=2).sink(
        out.append
    )
    env.submit(autostop=True)
    assert sorted(out) == [sum(range(0, 100, 2)), sum(range(1, 100, 2))]


def test_a_process_that_dies() -> None:
    """The job stops and says which stage's process ended, and how."""
    env = process_env()
    env.from_collection(range(10)).map(die).sink(lambda _: None)
    with pytest.raises(OperatorError, match=r"'die' failed.*worker process ended with code 3"):
        env.submit(autostop=True)


def test_what_cannot_be_sent() -> None:
    """A lambda cannot go to another process; the error says what to do. Nor can such a result."""
    env = process_env()
    env.from_collection([1]).map(lambda x: x, name="local").sink(lambda _: None)
    with pytest.raises(GraphError, match=r"'local' cannot be sent.*top level of a module"):
        env.submit(autostop=True)
    other = process_env()
    other.from_collection([1]).map(unsendable).sink(lambda _: None)
    with pytest.raises(OperatorError, match="'unsendable' failed on record '<emitted records>'"):
        other.submit(autostop=True)


def test_what_stays_here() -> None:
    """Sources and keyby cannot be moved; inline is for a whole environment."""

    async def fetch(record: int) -> int:
        return record

    stream = LocalEnvironment().from_collection([1])
    with pytest.raises(GraphError, match="an async operator cannot run in a process"):
        stream.map(fetch, workers="process")
    with pytest.raises(GraphError, match="a keyby cannot run in a process"):
        stream.keyby(str, workers="process")
    with pytest.raises(ConfigError, match="for a whole environment"):
        stream.map(str, workers="inline")


def test_batches_and_splits_stay_here() -> None:
    """Operators of SAGE's own work beside process workers."""
    env = process_env()
    out: list[Any] = []
    split = env.from_collection([1, -2, 3]).map(abs).split(lambda x: "odd" if x % 2 else "even")
    split["odd"].batch(2).sink(out.append)
    split["even"].sink(out.append)
    env.submit(autostop=True)
    assert Counter(map(str, out)) == Counter(["[1, 3]", "2"])


def test_cancel_ends_the_processes() -> None:
    """cancel() leaves no process; the fixture looks."""
    env = process_env()
    started = threading.Event()

    def numbers() -> Iterator[int]:
        while True:
            yield 1

    env.from_source(numbers).map(abs, parallelism=2).sink(lambda _: started.set())
    job = env.submit()
    assert started.wait(30)
    job.cancel(timeout=20)

"""map(remember=…): results are kept by the content of their records."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support import wait_until

from sage.dataflow import LocalEnvironment, MapFunction
from sage.dataflow.content_cache import TRANSACTION_SIZE
from sage.errors import ConfigError, GraphError, OperatorError

CALLS: Counter[Any] = Counter()


@pytest.fixture(autouse=True)
def no_calls() -> None:
    """Each test counts its own calls."""
    CALLS.clear()


def square(record: int) -> int | None:
    CALLS[record] += 1
    return None if record == 3 else record * record


async def square_async(record: int) -> int | None:
    return square(record)


class Power(MapFunction):
    """An operator with a constructor, ``open`` and ``close``."""

    def __init__(self, exponent: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.exponent = exponent

    def open(self, context: Any) -> None:
        CALLS["open"] += 1

    def execute(self, data: int) -> int:
        CALLS[data] += 1
        return data**self.exponent

    def close(self) -> None:
        CALLS["close"] += 1


@dataclass
class Point:
    x: float
    name: str


def run(env: LocalEnvironment, records: Any, function: Any, *args: Any, **kwargs: Any) -> Any:
    """Run one map; return what came out and the map's report."""
    out: list[Any] = []
    env.from_collection(records).map(function, *args, **kwargs).sink(out.append)
    return out, env.submit(autostop=True).operators[1]


@pytest.mark.parametrize("function", [square, square_async])
def test_a_second_run_computes_nothing(
    env: LocalEnvironment, tmp_path: Path, function: Any
) -> None:
    """Results come from the file, dropped records too, whatever the order; new ones are made."""
    path = tmp_path / "squares.sqlite"
    out, report = run(env, [1, 2, 3, 4], function, remember=path)
    assert out == [1, 4, 16]
    assert (report.dropped, report.metrics) == (1, {"computed": 4})
    CALLS.clear()
    out, report = run(LocalEnvironment("again"), [4, 5, 3, 2, 1], function, remember=path)
    assert out == [16, 25, 4, 1]
    assert (report.dropped, report.metrics) == (1, {"computed": 1, "remembered": 4})
    assert CALLS == {5: 1}


def test_version_and_name(tmp_path: Path) -> None:
    """Another version, or another operator, makes its own results in the same file."""
    path = tmp_path / "squares.sqlite"
    for options, computed in [
        ({}, 2),
        ({"version": "1"}, 0),
        ({"version": "2"}, 2),
        ({"name": "other"}, 2),
        ({"name": "other", "version": "2"}, 2),
        ({"version": "2"}, 0),
    ]:
        CALLS.clear()
        out, _ = run(LocalEnvironment("versions"), [1, 2], square, remember=path, **options)
        assert (out, CALLS.total()) == ([1, 4], computed)


def test_classes(env: LocalEnvironment, tmp_path: Path) -> None:
    """An operator class keeps its constructor's arguments, its open and its close."""
    path = tmp_path / "powers.sqlite"
    out, _ = run(env, [2, 3], Power, 3, remember=path)
    assert out == [8, 27]
    assert (CALLS["open"], CALLS["close"]) == (1, 1)


def test_version_of_a_constructor(env: LocalEnvironment) -> None:
    """Without remember= a constructor's own ``version`` is the constructor's."""

    class Versioned(MapFunction):
        def __init__(self, version: str) -> None:
            self.version = version

        def execute(self, data: int) -> str:
            return f"{data}v{self.version}"

    assert run(env, [1], Versioned, version="7")[0] == ["1v7"]


def test_any_content(tmp_path: Path) -> None:
    """Dicts, arrays and dataclasses are known again, and results come back as they were."""
    path = tmp_path / "any.sqlite"

    def records() -> list[Any]:
        return [{"a": [1, 2.5]}, np.arange(3), Point(1.0, "p"), b"bytes", ("t", None)]

    def wrap(record: Any) -> Any:
        return {"record": record, "point": Point(0.0, "q")}

    first, _ = run(LocalEnvironment("any"), records(), wrap, remember=path)
    second, report = run(LocalEnvironment("any"), records(), wrap, remember=path)
    assert report.metrics == {"remembered": 5}
    assert str(first) == str(second)
    assert second[2]["record"] == Point(1.0, "p")


def test_no_content(env: LocalEnvironment, tmp_path: Path) -> None:
    """A record without a content is an error of the record."""
    with pytest.raises(OperatorError, match="has no content to go by"):
        run(env, [object()], str, remember=tmp_path / "c.sqlite")


def test_errors_are_not_kept(tmp_path: Path) -> None:
    """A record that failed is tried again in the next run."""
    path = tmp_path / "c.sqlite"

    def half(record: int) -> int:
        CALLS[record] += 1
        if CALLS[record] == 1:
            raise ValueError("not yet")
        return record // 2

    _, report = run(LocalEnvironment("a"), [4], half, remember=path, on_error="skip")
    assert report.failed == 1
    assert run(LocalEnvironment("b"), [4], half, remember=path)[0] == [2]


class Buffers(MapFunction):
    def execute(self, data: int) -> None: ...

    def flush(self) -> int:
        return 1


class Counts(MapFunction):
    def execute(self, data: int) -> int:
        return data

    def snapshot(self) -> int:
        return 0


@pytest.mark.parametrize("function", [Buffers, Counts(), lambda record: record])
def test_what_cannot_be_remembered(tmp_path: Path, function: Any) -> None:
    """Operators that keep something between records, and functions without a name, are refused."""
    with pytest.raises(GraphError, match=r"remember="):
        LocalEnvironment("no").from_collection([1]).map(function, remember=tmp_path / "c.sqlite")


@pytest.mark.parametrize("remember", [3, "", ["a"]])
def test_no_file(remember: Any) -> None:
    """A wrong value is an error where it is written."""
    with pytest.raises(ConfigError, match="remember is "):
        LocalEnvironment("no").from_collection([1]).map(square, remember=remember)


def test_a_file_of_the_jobs_own(isolated_home: Path) -> None:
    """remember=True keeps results in the user's cache folder, by the environment's name."""
    for name, computed in [("one/job", 2), ("one/job", 0), ("one_job", 2)]:
        CALLS.clear()
        run(LocalEnvironment(name), [1, 2], square, remember=True)
        assert CALLS.total() == computed
    assert len(list((isolated_home / "sage" / "cache" / "remembered").glob("*.sqlite"))) == 2


def test_written_by_a_timer(tmp_path: Path) -> None:
    """What came in a burst is in the file soon, while the source still waits."""
    path = tmp_path / "c.sqlite"
    go_on = threading.Event()

    def source() -> Iterator[int]:
        yield from range(20)
        assert go_on.wait(20)

    env = LocalEnvironment("timer")
    env.from_source(source).map(square, remember=path).sink(lambda _: None)
    job = env.submit()
    try:
        wait_until(lambda: path.exists() and in_file(path) == 20)
    finally:
        go_on.set()
        job.wait()


def in_file(path: Path) -> int:
    """How many results another process would see."""
    connection = sqlite3.connect(path)
    try:
        (count,) = connection.execute("SELECT count(*) FROM entries").fetchone()
    finally:
        connection.close()
    return int(count)


def double(record: int) -> int:
    return 2 * record


def test_worker_processes(tmp_path: Path) -> None:
    """Replicas in processes of their own share the file."""
    path = tmp_path / "doubles.sqlite"
    records = range(300)
    for expected in ({"computed": 300}, {"remembered": 300}):
        env = LocalEnvironment("processes")
        out, report = run(env, records, double, remember=path, workers="process", parallelism=2)
        assert sorted(out) == [2 * record for record in records]
        assert report.metrics == expected


PROGRAM = """
import sys, time
from sage.dataflow import LocalEnvironment
path, done, limit = sys.argv[1], sys.argv[2], int(sys.argv[3])
made = 0
def slow(record):
    global made
    made += 1
    if made > limit:
        time.sleep(60)
    with open(done, "a") as file:
        file.write(f"{record}\\n")
    return record
env = LocalEnvironment("killed", config={"workers": "inline"})
env.from_collection(range(1000)).map(slow, remember=path).sink(lambda record: None)
env.submit(autostop=True)
"""


def test_a_killed_job_goes_on_where_it_was(tmp_path: Path) -> None:
    """After kill -9 only what was not yet kept is computed again."""
    path, done = tmp_path / "c.sqlite", tmp_path / "done.txt"
    command = [sys.executable, "-c", PROGRAM, str(path), str(done)]
    first = subprocess.Popen([*command, "500"])
    wait_until(lambda: done.exists() and done.read_text().count("\n") == 500, 45)
    first.send_signal(signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    done.unlink()
    assert subprocess.run([*command, "1000"], check=False).returncode == 0
    computed = [int(line) for line in done.read_text().split()]
    assert 500 <= len(computed) < 500 + TRANSACTION_SIZE
    assert computed == list(range(1000 - len(computed), 1000))

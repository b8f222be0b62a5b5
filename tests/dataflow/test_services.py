"""register_service: one instance a process, shared, made when needed and closed at the end."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any, ClassVar

import pytest

from sage.dataflow import LocalEnvironment, MapFunction, RuntimeContext, SinkFunction
from sage.errors import ConfigError, DataflowError, GraphError, OperatorError, UnknownKeyError

EVENTS: list[str] = []


@pytest.fixture(autouse=True)
def no_events() -> None:
    EVENTS.clear()


class Recorder:
    """A service that says what becomes of it."""

    def __init__(self, label: str = "recorder") -> None:
        self.label = label
        EVENTS.append(f"made {label}")

    def open(self) -> None:
        EVENTS.append(f"opened {self.label}")

    def close(self) -> None:
        EVENTS.append(f"closed {self.label}")


class Asks(MapFunction):
    """Gives each record with the identity of the service that it was given."""

    def execute(self, data: Any) -> Any:
        return data, id(self.call_service("recorder"))


class AsksAtTheEnd(SinkFunction):
    """Asks for a service in every one of its methods."""

    def open(self, context: RuntimeContext) -> None:
        EVENTS.append(f"open has {context.service('recorder').label}")

    def execute(self, data: Any) -> None:
        self.call_service("recorder")

    def close(self) -> None:
        EVENTS.append(f"close has {self.call_service('recorder').label}")


def test_all_operators_and_replicas_share_one(env: LocalEnvironment) -> None:
    """It is made and opened once, whoever asks, and closed once when all operators are closed."""
    env.register_service("recorder", Recorder, label="r")
    seen: list[Any] = []
    stream = env.from_collection(range(100)).map(Asks, parallelism=3).map(Asks, name="again")
    stream.sink(seen.append)
    stream.sink(AsksAtTheEnd)
    env.submit(autostop=True)
    assert len({service for (_, first), second in seen for service in (first, second)}) == 1
    made = ["made r", "opened r"]
    assert sorted(EVENTS[:2]) == sorted(made)
    assert sorted(EVENTS) == sorted([*made, "open has r", "close has r", "closed r"])
    assert EVENTS[-1] == "closed r"


def test_it_is_made_only_when_asked_for(env: LocalEnvironment) -> None:
    """A service that nobody needs costs nothing."""
    env.register_service("recorder", Recorder)
    env.from_collection([1]).sink(lambda record: None)
    env.submit(autostop=True)
    assert EVENTS == []


def test_each_job_has_its_own(env: LocalEnvironment) -> None:
    """A second run of the environment makes it again."""
    env.register_service("recorder", Recorder)
    env.from_collection([1]).map(Asks).sink(lambda record: None)
    env.submit(autostop=True)
    env.submit(autostop=True)
    assert EVENTS == ["made recorder", "opened recorder", "closed recorder"] * 2


def test_they_are_closed_in_reverse_order(env: LocalEnvironment) -> None:
    """What was made last may need what was made before it."""
    for label in "abc":
        env.register_service(label, Recorder, label)

    class AsksForAll(MapFunction):
        def open(self, context: RuntimeContext) -> None:
            for label in "bca":
                context.service(label)

        def execute(self, data: Any) -> Any:
            return data

    env.from_collection([1]).map(AsksForAll).sink(lambda record: None)
    env.submit(autostop=True)
    assert EVENTS[-3:] == ["closed a", "closed c", "closed b"]


class Slow:
    """Takes its time to be made, so that others ask meanwhile."""

    made = 0
    waiting: ClassVar[threading.Event] = threading.Event()

    def __init__(self) -> None:
        Slow.made += 1
        Slow.waiting.wait(10)


def test_those_that_ask_at_once_wait_for_one() -> None:
    """While one replica makes it, the others wait; none makes another."""
    Slow.made = 0
    Slow.waiting.clear()
    arrived = threading.Barrier(4, action=lambda: threading.Timer(0.05, Slow.waiting.set).start())

    class AsksTogether(MapFunction):
        def open(self, context: RuntimeContext) -> None:
            arrived.wait(10)
            context.service("slow")

        def execute(self, data: Any) -> Any:
            return data

    env = LocalEnvironment()
    env.register_service("slow", Slow)
    env.from_collection(range(8)).map(AsksTogether, parallelism=4).sink(lambda record: None)
    env.submit(autostop=True)
    assert Slow.made == 1
    deadline = time.monotonic() + 5
    while any(isinstance(thread, threading.Timer) for thread in threading.enumerate()):
        assert time.monotonic() < deadline


def test_it_is_closed_when_the_job_fails(env: LocalEnvironment) -> None:
    """As operators are."""
    env.register_service("recorder", Recorder)

    class Fails(MapFunction):
        def execute(self, data: Any) -> Any:
            self.call_service("recorder")
            raise ValueError(data)

    env.from_collection([1]).map(Fails).sink(lambda record: None)
    with pytest.raises(OperatorError, match="ValueError"):
        env.submit(autostop=True)
    assert EVENTS == ["made recorder", "opened recorder", "closed recorder"]


class Unopenable(Recorder):
    def open(self) -> None:
        super().open()
        raise OSError("no such model")


def test_one_that_cannot_be_opened_is_closed(env: LocalEnvironment) -> None:
    """The error names the service; what it has acquired by then is released."""
    env.register_service("recorder", Unopenable)
    env.from_collection([1]).map(Asks).sink(lambda record: None)
    with pytest.raises(OperatorError, match=r"service 'recorder' could not be made: OSError: no s"):
        env.submit(autostop=True)
    assert EVENTS == ["made recorder", "opened recorder", "closed recorder"]


class Unclosable(Recorder):
    def close(self) -> None:
        super().close()
        raise OSError("stuck")


def test_one_that_cannot_be_closed_fails_the_job(env: LocalEnvironment) -> None:
    """And the others are closed all the same."""
    env.register_service("first", Recorder, "first")
    env.register_service("recorder", Unclosable)

    class AsksForBoth(MapFunction):
        def execute(self, data: Any) -> Any:
            self.call_service("first")
            self.call_service("recorder")

    env.from_collection([1]).map(AsksForBoth).sink(lambda record: None)
    with pytest.raises(DataflowError, match=r"service 'recorder' could not be closed: OSError"):
        env.submit(autostop=True)
    assert EVENTS[-2:] == ["closed recorder", "closed first"]


def test_an_unknown_name(env: LocalEnvironment) -> None:
    """The error names the nearest service."""
    env.register_service("recordre", Recorder)
    env.from_collection([1]).map(Asks).sink(lambda record: None)
    with pytest.raises(
        OperatorError, match=r"unknown key 'recorder'; did you mean 'recordre'"
    ) as e:
        env.submit(autostop=True)
    assert isinstance(e.value.__cause__, UnknownKeyError)


def test_none_registered(env: LocalEnvironment) -> None:
    """The error says what to call."""
    env.from_collection([1]).map(Asks).sink(lambda record: None)
    with pytest.raises(OperatorError, match=r"none is registered; call env\.register_service"):
        env.submit(autostop=True)


def test_before_open() -> None:
    """A constructor has no services."""
    with pytest.raises(DataflowError, match=r"Asks asked for service 'recorder' before it was op"):
        Asks().call_service("recorder")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("", Recorder), "name is ''"),
        ((3, Recorder), "name is 3"),
        (("model", "gpt"), "'model' is 'gpt'; give a class or a function"),
        (("model", Recorder, 1, 2), "'model' cannot be made so: too many positional"),
        (("taken", Recorder), "already a service named 'taken'"),
    ],
)
def test_what_cannot_be_registered(arguments: tuple[Any, ...], message: str) -> None:
    """Wrong registrations fail where they are written."""
    env = LocalEnvironment()
    env.register_service("taken", dict, a=1)
    with pytest.raises(ConfigError, match=message):
        env.register_service(*arguments)


class LogsItsLife:
    """A service that writes down its process and what becomes of it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._write("made")

    def close(self) -> None:
        self._write("closed")

    def _write(self, event: str) -> None:
        with Path(self._path).open("a") as file:
            file.write(f"{os.getpid()} {event}\n")


class NamesProcess(MapFunction):
    def execute(self, data: Any) -> Any:
        self.call_service("log")
        return os.getpid()


def test_each_worker_process_has_its_own(tmp_path: Any) -> None:
    """Operators fused in one worker share it; it is closed when the worker ends."""
    env = LocalEnvironment()
    path = tmp_path / "log"
    env.register_service("log", LogsItsLife, str(path))
    pids: set[int] = set()
    stream = env.from_collection(range(20_000)).map(NamesProcess, parallelism=2, workers="process")
    stream.map(NamesProcess, name="b", parallelism=2, workers="process").sink(pids.add)
    env.submit(autostop=True)
    assert os.getpid() not in pids
    lines = path.read_text().split("\n")[:-1]
    assert pids <= {int(line.split()[0]) for line in lines}
    for pid in {line.split()[0] for line in lines}:
        assert [line for line in lines if line.startswith(pid)] == [f"{pid} made", f"{pid} closed"]


class UnclosableThere(LogsItsLife):
    def close(self) -> None:
        raise OSError("stuck")


def test_one_that_cannot_be_closed_in_a_worker(tmp_path: Any) -> None:
    """Fails the job, as it does here."""
    env = LocalEnvironment()
    env.register_service("log", UnclosableThere, str(tmp_path / "log"))
    env.from_collection(range(3)).map(NamesProcess, workers="process").sink(lambda record: None)
    with pytest.raises(OperatorError, match="service 'log' could not be closed: OSError: stuck"):
        env.submit(autostop=True)


def test_one_that_cannot_be_sent() -> None:
    """Is an error when the job is submitted, where there are worker processes."""
    env = LocalEnvironment()
    env.register_service("lock", Recorder, threading.Lock())
    env.from_collection([1]).map(abs, workers="process").sink(lambda record: None)
    with pytest.raises(GraphError, match=r"service 'lock' cannot be sent to a worker process"):
        env.submit(autostop=True)

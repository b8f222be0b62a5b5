"""timeout: a call that takes too long is ended."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from sage.dataflow import LocalEnvironment, MapFunction, RetryPolicy, Stream
from sage.dataflow.blueprint import Blueprint
from sage.dataflow.graph import Graph, Kind, Node
from sage.dataflow.options import OperatorOptions
from sage.dataflow.timeouts import limited
from sage.errors import ConfigError, GraphError, OperatorError, OperatorTimeoutError

SHORT, LONG = 0.001, 30.0


async def later(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return seconds


def spin(seconds: float) -> float:
    """Python code that never waits, and that no `except Exception` keeps from being ended."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            while time.monotonic() < end:
                pass
        except Exception:  # noqa: BLE001 - what a user's code might do
            continue
    return seconds


def pieces(seconds: float) -> Iterator[float]:
    time.sleep(seconds)
    yield seconds


async def own_timeout(_: float) -> float:
    raise TimeoutError("the user's own")


def stream(env: LocalEnvironment) -> Stream:
    return env.from_collection([SHORT, LONG, SHORT])


def test_async(env: LocalEnvironment) -> None:
    """The call is cancelled, the error goes into on_error, and the others go on."""
    out: list[float] = []
    stream(env).map(later, timeout=0.5, on_error="dead_letter").sink(out.append)
    result = env.submit(autostop=True)
    assert out == [SHORT, SHORT]
    (letter,) = result.dead_letters
    assert letter.record == LONG
    assert isinstance(letter.error, OperatorTimeoutError)
    assert str(letter.error) == "operator 'later' took longer than its timeout of 0.5 s"
    assert result.duration < 10


@pytest.mark.parametrize(("method", "function"), [("map", spin), ("flatmap", pieces)])
def test_process(method: str, function: Any) -> None:
    """A worker process interrupts the user's code, a generator's as well, and lives on."""
    env = LocalEnvironment()
    out: list[float] = []
    operator = getattr(stream(env), method)(
        function, timeout=0.5, on_error="dead_letter", workers="process"
    )
    operator.sink(out.append)
    result = env.submit(autostop=True)
    assert out == [SHORT, SHORT]
    assert isinstance(result.dead_letters[0].error, OperatorTimeoutError)


def test_each_attempt_has_the_time(env: LocalEnvironment) -> None:
    """A retry begins anew, and may succeed."""
    waits = iter([LONG, LONG, 0.0])

    async def third_time(record: int) -> int:
        await asyncio.sleep(next(waits))
        return record

    out: list[int] = []
    retry = RetryPolicy(attempts=3, first_delay=0.001, retry_on=(OperatorTimeoutError,))
    env.from_collection([1]).map(third_time, timeout=0.3, retry=retry).sink(out.append)
    result = env.submit(autostop=True)
    assert out == [1]
    assert result.operator("third_time").retried == 2


def test_it_ends_the_job() -> None:
    """By default it is an error as any other, with its cause."""
    env = LocalEnvironment()
    stream(env).map(later, timeout=0.3).sink(lambda _: None)
    with pytest.raises(OperatorError, match=r"record 30\.0: OperatorTimeoutError") as raised:
        env.submit(autostop=True)
    assert isinstance(raised.value.__cause__, OperatorTimeoutError)
    assert raised.value.__cause__.timeout == 0.3


def test_a_timeout_of_the_users_own(env: LocalEnvironment) -> None:
    """It stays what it is."""
    env.from_collection([1.0]).map(own_timeout, timeout=30, on_error="dead_letter").sink(print)
    (letter,) = env.submit(autostop=True).dead_letters
    assert str(letter.error) == "the user's own"
    assert not isinstance(letter.error, OperatorTimeoutError)


def test_what_cannot_be_ended() -> None:
    """It is said where the operator is added, with what to do."""
    env = LocalEnvironment()
    source = env.from_collection([1])
    with pytest.raises(GraphError, match="'spin' async def, or give it workers='process'"):
        source.map(spin, timeout=1)
    with pytest.raises(GraphError, match="a keyby cannot have a timeout"):
        source.keyby(spin, timeout=1)
    with pytest.raises(GraphError, match="a source cannot have a timeout"):
        env.from_collection([1], timeout=1)
    with pytest.raises(GraphError, match=r"'max' cannot have a timeout: .* half done"):
        source.keyby(spin).reduce(max, timeout=1, workers="process")


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), "1"])
def test_wrong_values(timeout: object) -> None:
    """It is a number of seconds above 0."""
    with pytest.raises(ConfigError, match=r"timeout is .*; give seconds above 0"):
        LocalEnvironment().from_collection([1]).map(later, timeout=timeout)


def test_a_constructors_own_timeout() -> None:
    """A class that takes a timeout of its own gets it, and is not ended by it."""

    class Own(MapFunction):
        def __init__(self, timeout: float, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.timeout = timeout

        def execute(self, data: int) -> float:
            return self.timeout

    env = LocalEnvironment()
    out: list[float] = []
    env.from_collection([1]).map(Own, timeout=5.0).sink(out.append)
    env.submit(autostop=True)
    assert out == [5.0]


def test_the_timer_is_gone_after_the_call() -> None:
    """No signal comes after a call that ended in time."""
    blueprint = Blueprint(spin)
    options = OperatorOptions(timeout=5.0)
    node: Node = Graph().add(Kind.MAP, blueprint, name="spin", parallelism=1, options=options)
    handler, timer = signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)
    try:
        assert limited(node, spin)(SHORT) == SHORT
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    finally:
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, *timer)

"""Processing-time windows: by the clock, with timers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.timed import (
    Clock,
    moved,
)

from sage.dataflow import (
    LocalEnvironment,
    TumblingWindows,
    WindowResult,
)
from sage.errors import GraphError


def test_processing_time_in_processes() -> None:
    """Timers fire in worker processes too, without a next record."""
    out: list[WindowResult] = []

    def source() -> Iterator[str | None]:
        yield "x"
        yield from iter(lambda: None if not out else 1, 1)

    env = LocalEnvironment(config={"workers": "process"})
    env.from_source(source).keyby(str).window(TumblingWindows(0.05)).list().sink(out.append)
    env.submit(autostop=True)
    assert [result.value for result in out] == [["x"]]


def test_processing_time() -> None:
    """Windows go by the injected clock and emit by a timer, without a next record."""
    clock = Clock()
    steps = [(1000.0, "x"), (1009.0, "y"), (1010.0, None), (1010.0, "z"), (1030.0, None)]
    seen: list[tuple[float, WindowResult]] = []
    env = LocalEnvironment(config={"workers": "inline"}, clock=clock)
    env.from_source(moved(clock, steps)).keyby(lambda _: 0).window(TumblingWindows(10)).list().sink(
        lambda result: seen.append((clock.now, result))
    )
    env.submit(autostop=True)
    assert seen == [
        (1010.0, (0, 1000.0, 1010.0, ["x", "y"], 0)),
        (1030.0, (0, 1010.0, 1020.0, ["z"], 0)),
    ]


def test_processing_time_in_threads_needs_no_next_record() -> None:
    """On the machine's own clock, a window emits while the source is silent."""
    out: list[WindowResult] = []

    def source() -> Iterator[str | None]:
        yield "x"
        while not out:
            yield None

    env = LocalEnvironment()
    env.from_source(source).keyby(str).window(TumblingWindows(0.05)).list().sink(out.append)
    env.submit(autostop=True)
    assert [result.value for result in out] == [["x"]]


def test_an_injected_clock_does_not_reach_processes() -> None:
    """Refused, rather than silently ignored."""
    env = LocalEnvironment(config={"workers": "process"}, clock=Clock())
    env.from_collection([1]).map(abs).sink(lambda _: None)
    with pytest.raises(GraphError, match="clock does not reach"):
        env.submit(autostop=True)

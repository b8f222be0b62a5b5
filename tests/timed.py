"""Timed records, a clock to move, and the plain evaluation of windows over them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import strategies as st

from sage.dataflow import (
    SessionWindows,
    SlidingWindows,
    TumblingWindows,
    WindowResult,
)
from sage.dataflow.windows import Windows

Record = tuple[str, float]


SIZES = st.integers(1, 12)


WINDOWS = st.one_of(
    st.builds(TumblingWindows, SIZES, st.integers(-5, 5)),
    SIZES.flatmap(lambda size: st.builds(SlidingWindows, st.just(size), st.integers(1, size))),
    st.builds(SessionWindows, SIZES),
)


RECORDS = st.lists(st.tuples(st.sampled_from("ab"), st.integers(-20, 60)), max_size=40)


RUNS = st.sampled_from(
    [{"workers": "inline"}, {"workers": "thread"}, {"workers": "thread", "batch_size": 2}]
)


def key(record: Record) -> str:
    return record[0]


def time(record: Record) -> float:
    return record[1]


def windows_of(windows: Windows, timestamps: list[float]) -> dict[tuple[float, float], list[float]]:
    """The plain evaluation: each window and the moments in it, whatever their order."""
    found: dict[tuple[float, float], list[float]] = defaultdict(list)
    if isinstance(windows, SessionWindows):
        run: list[float] = []
        for moment in [*sorted(timestamps), math.inf]:
            if run and moment - run[-1] >= windows.gap:
                found[run[0], run[-1] + windows.gap] = run
                run = []
            run.append(moment)
        return found
    assert isinstance(windows, (TumblingWindows, SlidingWindows))
    slide = windows.slide if isinstance(windows, SlidingWindows) else windows.size
    for moment in timestamps:
        for number in range(-100, 200):
            start = number * slide + windows.offset
            if start <= moment < start + windows.size:
                found[start, start + windows.size].append(moment)
    return found


def expected(windows: Windows, records: list[Record]) -> dict[tuple[Any, ...], list[float]]:
    """The same for each key."""
    by_key: dict[str, list[float]] = defaultdict(list)
    for name, moment in records:
        by_key[name].append(moment)
    return {
        (name, *window): sorted(inside)
        for name, moments in by_key.items()
        for window, inside in windows_of(windows, moments).items()
    }


def as_lists(results: list[WindowResult]) -> dict[tuple[Any, ...], list[float]]:
    return {
        (result.key, result.start, result.end): sorted(moment for _, moment in result.value)
        for result in results
    }


class Clock:
    """A clock that a source moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def moved(clock: Clock, steps: list[tuple[float, Any]]) -> Callable[[], Iterator[Any]]:
    def source() -> Iterator[Any]:
        for now, record in steps:
            clock.now = now
            yield record

    return source

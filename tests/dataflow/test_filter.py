"""filter: keeps the records for which the function is true."""

from __future__ import annotations

from typing import Any

from sage.dataflow import FilterFunction, LocalEnvironment


class AtLeast(FilterFunction):
    def __init__(self, least: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.least = least

    def execute(self, data: int) -> bool:
        return data >= self.least


def test_keeps_and_counts(env: LocalEnvironment) -> None:
    """What is left out is counted as dropped."""
    out: list[int] = []
    env.from_collection(range(10)).filter(AtLeast(7, name="seven")).sink(out.append)
    result = env.submit(autostop=True)
    assert out == [7, 8, 9]
    report = result.operator("seven")
    assert (report.records_in, report.records_out, report.dropped) == (10, 3, 7)


def test_none_records_pass(env: LocalEnvironment) -> None:
    """A filter judges by its function alone: a None in the collection is a record like another."""
    out: list[Any] = []
    env.from_collection([None, 1]).filter(lambda _: True).sink(out.append)
    env.submit(autostop=True)
    assert out == [None, 1]

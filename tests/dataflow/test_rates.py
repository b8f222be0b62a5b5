"""Speeds of the last seconds, and the time left."""

from __future__ import annotations

import pytest

from sage.dataflow.graph import Kind
from sage.dataflow.rates import Rates
from sage.dataflow.result import OperatorReport


def report(
    name: str, handled: int, *, share: float | None = None, queued: int = 0
) -> OperatorReport:
    kind = Kind.SOURCE if share is not None or name.startswith("source") else Kind.MAP
    taken, given = (0, handled) if kind is Kind.SOURCE else (handled, handled)
    return OperatorReport(name, kind, 1, taken, given, 0, 0, 0, 0.0, share=share, queued=queued)


def test_the_last_seconds_count() -> None:
    """An operator that has become slow is slow, whatever it did before."""
    rates = Rates(window=5)
    rates.look(0, [report("a", 0)])
    assert rates.per_second("a") == 0
    rates.look(10, [report("a", 10_000)])
    assert rates.per_second("a") == 1000
    for now in range(11, 21):
        rates.look(now, [report("a", 10_000 + now)])
    assert rates.per_second("a") == pytest.approx(1)


def test_time_left() -> None:
    """What the source has left, and then what waits, at the speed of now."""
    rates = Rates()
    rates.look(0, [report("source", 0, share=0.0), report("a", 0)])
    rates.look(4, [report("source", 100, share=0.2), report("a", 80, queued=20)])
    assert rates.remaining() == pytest.approx(0.8 / 0.05 + 20 / 20)


def test_time_left_when_the_source_is_done() -> None:
    """The slowest queue decides."""
    rates = Rates()
    rates.look(0, [report("source", 0, share=1.0), report("a", 0), report("b", 0)])
    rates.look(2, [report("source", 0, share=1.0), report("a", 20, queued=50), report("b", 20)])
    assert rates.remaining() == pytest.approx(5)


@pytest.mark.parametrize(
    "second",
    [
        [report("source", 9)],
        [report("source", 9, share=0.5), report("source-2", 9)],
        [report("source", 0, share=0.0)],
        [report("source", 9, share=1.0), report("a", 0, queued=3)],
    ],
)
def test_no_time_left_is_made_up(second: list[OperatorReport]) -> None:
    """Without a known size of every source, or when nothing moves, there is none."""
    rates = Rates()
    first = [report(r.name, 0, share=None if r.share is None else 0.0) for r in second]
    rates.look(0, first)
    rates.look(1, second)
    assert rates.remaining() is None

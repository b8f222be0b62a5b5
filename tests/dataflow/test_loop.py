"""The generated inner loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sage.dataflow.blueprint import Blueprint
from sage.dataflow.graph import Kind, Node
from sage.dataflow.loop import (
    SAMPLE_REST,
    SAMPLE_SIZE,
    RecordFailedError,
    RecordLoop,
    write_loop,
)
from sage.dataflow.replica import OperatorReplica


def replicas(*operators: tuple[Kind, Callable[[Any], Any]]) -> list[OperatorReplica]:
    return [
        OperatorReplica(Node(number, kind, f"op{number}", Blueprint(call), 1), call, 0)
        for number, (kind, call) in enumerate(operators)
    ]


def test_what_was_made_before_a_failure() -> None:
    """A batch whose first records are measured and whose later ones fail loses neither part."""
    loop = RecordLoop(replicas((Kind.MAP, lambda x: 1 // (x - 60) + x)))
    with pytest.raises(RecordFailedError) as raised:
        loop.process(range(100))
    assert SAMPLE_SIZE < 60
    assert raised.value.record == 60
    assert raised.value.done == [x - 1 for x in range(60)]


@pytest.mark.parametrize("measure_all", [False, True])
def test_counts(measure_all: bool) -> None:
    """Measured or not, what one operator emits is what the next one takes."""
    operators = replicas(
        (Kind.FILTER, lambda x: x % 2 == 0),
        (Kind.FLATMAP, lambda x: [x] * 3),
        (Kind.MAP, lambda x: None if x == 4 else x),
        (Kind.SINK, lambda x: None),
    )
    loop = RecordLoop(operators, measure_all=measure_all)
    for _ in range(40):
        assert loop.process(range(10)) == []
    meters = [operator.meter for operator in operators]
    assert [meter.records_in for meter in meters] == [400, 200, 600, 480]
    assert [meter.records_out for meter in meters] == [200, 600, 480, 480]
    assert [meter.dropped for meter in meters] == [200, 0, 120, 0]
    assert all(meter.busy > 0 for meter in meters)


def test_busy_time_goes_to_the_operator_that_takes_it() -> None:
    """Times come from the injected clock: here each call takes as long as it says."""
    now = 0.0

    def takes(seconds: float) -> Callable[[Any], Any]:
        def call(record: Any) -> Any:
            nonlocal now
            now += seconds
            return record

        return call

    operators = replicas((Kind.MAP, takes(1.0)), (Kind.MAP, takes(3.0)))
    loop = RecordLoop(operators, clock=lambda: now)
    for _ in range(10):
        loop.process(range(100))
    assert [operator.meter.busy for operator in operators] == pytest.approx([1000.0, 3000.0])


def test_fast_records_are_seldom_measured() -> None:
    """After a sample the clock is not read by the record until it has cost a 400th of the time."""
    readings = 0

    def clock() -> float:
        nonlocal readings
        readings += 1
        return readings * 1e-6

    loop = RecordLoop(replicas((Kind.MAP, lambda x: x)), clock=clock)

    def measured() -> bool:
        before = readings
        loop.process(range(SAMPLE_SIZE))
        return readings - before > SAMPLE_SIZE

    assert measured()
    first = readings
    while not measured():
        assert readings < 1.1 * SAMPLE_REST * first
    assert readings > 0.9 * SAMPLE_REST * first


@pytest.mark.parametrize("kind", [Kind.MAP, Kind.FILTER, Kind.FLATMAP])
def test_a_failed_record_goes_no_further(kind: Kind) -> None:
    """It is counted where it failed, is not among the dropped, and the next operator never sees it.

    What a flatmap emitted of it before has gone on.
    """

    def fails(x: int) -> Any:
        return [x, 6 // (3 - x)] if kind is Kind.FLATMAP else 6 // (3 - x)

    operators = replicas(
        (Kind.FILTER, lambda x: x != 1), (kind, fails), (Kind.SINK, lambda x: None)
    )
    with pytest.raises(RecordFailedError) as raised:
        RecordLoop(operators).process([0, 1, 2, 3, 4])
    assert raised.value.record == 3
    keeps, breaks, sinks = [operator.meter for operator in operators]
    assert (keeps.records_in, keeps.dropped, keeps.failed, keeps.records_out) == (4, 1, 0, 3)
    passed = 4 if kind is Kind.FLATMAP else 2
    assert (breaks.records_in, breaks.dropped, breaks.failed) == (3, 0, 1)
    assert breaks.records_out == sinks.records_in == sinks.records_out == passed


def test_the_text_is_a_loop_one_would_write() -> None:
    """The generated function reads like the one in the module's documentation."""
    nodes = [
        operator.node
        for operator in replicas((Kind.MAP, str), (Kind.FILTER, str), (Kind.SINK, str))
    ]
    assert [line.strip() for line in write_loop(nodes, measured=False).lines[7:15]] == [
        "r1 = f0(r0)",
        "if r1 is None:",
        "n0 += 1",
        "continue",
        "if f1(r1):",
        "f2(r1)",
        "else:",
        "n1 += 1",
    ]

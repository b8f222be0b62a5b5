"""An operator that raises stops the job, named, with its record, and the counts add up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sage.dataflow import JobStatus, LocalEnvironment, MapFunction
from sage.errors import OperatorError


def fail_on(bad: Any) -> Callable[[Any], Any]:
    def check(record: Any) -> Any:
        if record == bad:
            raise ValueError("no good")
        return record

    return check


def test_names_the_operator_and_the_record(env: LocalEnvironment) -> None:
    """The error carries both; its cause is what was raised."""
    env.from_collection(range(5000)).map(lambda x: x * 2).map(fail_on(4242), name="check").sink(
        lambda _: None
    )
    message = r"'check' failed on record 4242: ValueError: no good"
    with pytest.raises(OperatorError, match=message) as raised:
        env.submit(autostop=True)
    assert (raised.value.operator, raised.value.record) == ("check", 4242)
    assert isinstance(raised.value.__cause__, ValueError)


def test_records_before_it_went_through(env: LocalEnvironment) -> None:
    """In one stage, everything before the bad record reaches the sink, and nothing after it."""
    out: list[int] = []
    env.from_collection(range(3000)).map(lambda x: x + 1).map(fail_on(2001)).sink(out.append)
    with pytest.raises(OperatorError):
        env.submit(autostop=True)
    assert out == list(range(1, 2001))


def test_no_operator_is_called_twice(env: LocalEnvironment) -> None:
    """Finding out which record failed calls nothing again."""
    calls: list[int] = []

    def count(record: int) -> int:
        calls.append(record)
        return record

    env.from_collection(range(500)).map(count).filter(fail_on(300)).sink(lambda _: None)
    with pytest.raises(OperatorError):
        env.submit(autostop=True)
    assert calls == sorted(set(calls))


@pytest.mark.parametrize("profile", [False, True])
def test_counts_add_up(env: LocalEnvironment, profile: bool) -> None:
    """After a failure every record is out, dropped, failed or abandoned."""
    stream = env.from_collection(range(4000)).filter(lambda x: x % 2 == 0, name="even")
    stream = stream.flatmap(lambda x: [x, x], name="twice").map(fail_on(2000), name="check")
    stream.map(lambda x: x, parallelism=2, name="later").sink(lambda _: None)
    with pytest.raises(OperatorError):
        env.submit(autostop=True, profile=profile)
    assert env.last_job is not None
    result = env.last_job.result
    assert result is not None
    assert result.status is JobStatus.FAILED
    assert result.failed == 1
    even, check = result.operator("even"), result.operator("check")
    assert even.records_in == 2001
    assert even.records_in == even.records_out + even.dropped
    assert result.operator("twice").records_out == check.records_in == 2001
    assert check.records_in == check.records_out + 1
    unread = result.records_in - even.records_in
    unsent = check.records_out - result.operator("later").records_in
    unsunk = result.operator("later").records_out - result.records_out
    assert result.abandoned == unread + unsent + unsunk
    assert "1 failed" in result.summary()


def test_generator_of_a_flatmap(env: LocalEnvironment) -> None:
    """A flatmap's generator that raises half way is the flatmap's failure, with its record."""

    def halves(record: int) -> Iterator[int]:
        yield record
        raise RuntimeError("second half")

    out: list[int] = []
    env.from_collection([7]).flatmap(halves).sink(out.append)
    with pytest.raises(OperatorError, match="'halves' failed on record 7"):
        env.submit(autostop=True)
    assert out == [7]


def test_stop_iteration_is_an_error(env: LocalEnvironment) -> None:
    """An operator's stray StopIteration ends no stream in silence."""
    env.from_collection([[], [1]]).map(lambda record: next(iter(record)), name="first").sink(
        lambda _: None
    )
    with pytest.raises(OperatorError, match="'first' failed on record"):
        env.submit(autostop=True)


def test_flush_that_raises(env: LocalEnvironment) -> None:
    """An error in flush() names the operator."""

    class Broken(MapFunction):
        def execute(self, data: int) -> int:
            return data

        def flush(self) -> None:
            raise ValueError("half a batch")

    env.from_collection([1]).map(Broken()).sink(lambda _: None)
    with pytest.raises(OperatorError, match="'Broken' failed on record '<end of input>'"):
        env.submit(autostop=True)


def test_flushed_record_that_fails_later(env: LocalEnvironment) -> None:
    """A flushed record on which a later operator raises is that operator's failure."""

    class Last(MapFunction):
        def execute(self, data: int) -> None:
            return None

        def flush(self) -> str:
            return "last"

    env.from_collection([1]).map(Last()).map(fail_on("last"), name="check").sink(lambda _: None)
    with pytest.raises(OperatorError, match="'check' failed on record 'last'"):
        env.submit(autostop=True)


def test_sys_exit_in_an_operator_fails_the_job() -> None:
    """A thread's SystemExit does not end the thread in silence."""

    def leave(record: int) -> int:
        raise SystemExit(3)

    env = LocalEnvironment()
    env.from_collection([1]).map(leave).sink(lambda _: None)
    with pytest.raises(SystemExit):
        env.submit(autostop=True)

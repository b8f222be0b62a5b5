"""retry and on_error: what happens when an operator raises on a record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage.dataflow import DeadLetter, LocalEnvironment, RetryPolicy
from sage.errors import ConfigError, GraphError, OperatorError

QUICK = RetryPolicy(attempts=3, first_delay=0.001)


def flaky(failures: int) -> Callable[[Any], Any]:
    """An operator that fails so often on each record before it succeeds."""
    tried: Counter[Any] = Counter()

    def attempt(record: Any) -> Any:
        tried[record] += 1
        if tried[record] <= failures:
            raise ConnectionError(f"attempt {tried[record]}")
        return record

    return attempt


def odd_fails(record: int) -> int:
    if record % 2:
        raise ValueError("odd")
    return record


def test_retry(env: LocalEnvironment) -> None:
    """A record that succeeds within its attempts goes on; the failed attempts are counted."""
    out: list[int] = []
    env.from_collection([1, 2]).map(flaky(2), name="flaky", retry=QUICK).sink(out.append)
    result = env.submit(autostop=True)
    assert out == [1, 2]
    report = result.operator("flaky")
    assert (report.failed, report.retried) == (0, 4)


def test_retry_ends(env: LocalEnvironment) -> None:
    """After the last attempt the job stops, with the last error."""
    env.from_collection([1]).map(flaky(3), name="flaky", retry=QUICK).sink(lambda _: None)
    with pytest.raises(
        OperatorError, match="'flaky' failed on record 1: ConnectionError: attempt 3"
    ):
        env.submit(autostop=True)


@pytest.mark.parametrize("method", ["map", "flatmap", "filter", "sink"])
def test_skip(env: LocalEnvironment, method: str) -> None:
    """A skipped record is failed, not dropped, and the others go on."""

    def operator(record: int) -> Any:
        odd_fails(record)
        return [record] if method == "flatmap" else record or True

    stream = getattr(env.from_collection(range(10)), method)(operator, on_error="skip", name="op")
    if method != "sink":
        stream.sink(lambda _: None)
    result = env.submit(autostop=True)
    report = result.operator("op")
    assert (report.records_in, report.records_out, report.dropped, report.failed) == (10, 5, 0, 5)
    assert result.records_out == 5
    assert ", 5 out, 5 failed, " in result.summary()


def test_dead_letters_in_the_result(env: LocalEnvironment) -> None:
    """The result has each dead letter with its reason."""
    env.from_collection([1, 2]).map(odd_fails, on_error="dead_letter", retry=QUICK).sink(
        lambda _: None
    )
    (letter,) = env.submit(autostop=True).dead_letters
    assert (letter.record, letter.attempts, letter.operator) == (1, 3, "odd_fails")
    assert isinstance(letter.error, ValueError)
    assert letter.time > 1.7e9


def test_dead_letter_sink(env: LocalEnvironment) -> None:
    """A function may take them instead, from all replicas."""
    letters: list[DeadLetter] = []
    env.on_dead_letter(letters.append)
    env.from_collection(range(100)).map(odd_fails, on_error="dead_letter", parallelism=3).sink(
        lambda _: None
    )
    result = env.submit(autostop=True)
    assert sorted(letter.record for letter in letters) == list(range(1, 100, 2))
    assert result.dead_letters == ()
    assert result.records_in == result.records_out + result.failed


def test_generator_of_a_flatmap(env: LocalEnvironment) -> None:
    """A flatmap whose generator fails half way emits nothing of that record."""

    def pieces(record: int) -> Iterator[int]:
        yield record
        odd_fails(record)

    out: list[int] = []
    env.from_collection([1, 2]).flatmap(pieces, on_error="skip").sink(out.append)
    assert env.submit(autostop=True).failed == 1
    assert out == [2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on_error": "ignore"}, "on_error is 'ignore'; choose one of 'raise', 'skip'"),
        ({"retry": "often"}, "retry is 'often'; give the number"),
        ({"retry": 0}, "retry attempts is 0"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    """Wrong values fail where they are written."""
    with pytest.raises(ConfigError, match=message):
        LocalEnvironment().from_collection([1]).map(str, **options)


@pytest.mark.parametrize("field", ["first_delay", "max_delay", "jitter", "factor"])
def test_wrong_policy(field: str) -> None:
    """A policy checks its numbers."""
    with pytest.raises(ConfigError, match=f"retry {field} is -1"):
        RetryPolicy(**{field: -1})


def test_keyby_and_sources_have_no_on_error() -> None:
    """Where there is no record to give up yet, the options are refused."""
    env = LocalEnvironment()
    with pytest.raises(GraphError, match="source cannot have on_error"):
        env.from_source(iter([1]), on_error="skip")
    with pytest.raises(GraphError, match="keyby cannot have"):
        env.from_collection([1]).keyby(str, retry=3)


class Busy(Exception):
    retry_after = 7.0


def test_delays() -> None:
    """Delays double up to the most; Retry-After is the least; the deadline and the kind of error
    end them."""
    policy = RetryPolicy(
        attempts=9, first_delay=1, max_delay=5, jitter=0, deadline=60, retry_on=(OSError, Busy)
    )
    delays = [policy.delay(failures, OSError(), 0) for failures in range(1, 5)]
    assert delays == [1, 2, 4, 5]
    assert policy.delay(1, Busy(), 0) == 7
    assert policy.delay(1, OSError(), 59.5) is None
    assert policy.delay(1, ValueError(), 0) is None
    assert policy.delay(9, OSError(), 0) is None


@given(st.integers(1, 20), st.floats(0, 1), st.floats(0, 1))
@settings(deadline=None)
def test_jitter_only_shortens(failures: int, jitter: float, draw: float) -> None:
    """A jittered delay is never longer than the plain one, nor negative."""
    plain = RetryPolicy(attempts=99, jitter=0).delay(failures, OSError(), 0)
    jittered = RetryPolicy(attempts=99, jitter=jitter).delay(failures, OSError(), 0, lambda: draw)
    assert plain is not None
    assert jittered is not None
    assert 0 <= jittered <= plain

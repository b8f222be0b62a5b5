"""process: state and timers by key, in event time and in processing time."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.timed import RUNS, Clock, moved

from sage.dataflow import LocalEnvironment, ProcessFunction, RuntimeContext
from sage.errors import GraphError, OperatorError

Record = tuple[str, int]
RECORDS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 40)), max_size=40)


def key(record: Record) -> str:
    return record[0]


def time(record: Record) -> int:
    return record[1]


class Reminder(ProcessFunction):
    """Counts each key's records; a timer ``delay`` after each says how many there were."""

    def __init__(self, delay: int = 5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.delay = delay
        self.events: list[str] = []

    def open(self, context: RuntimeContext) -> None:
        self.events.append("open")
        self.count = context.state.value("count", 0)

    def execute(self, data: Record) -> None:
        assert self.context is not None
        self.count.set(self.count.get() + 1)
        self.context.timer(data[1] + self.delay)

    def on_timer(self, at: float) -> Iterator[tuple[str, float, int]]:
        assert self.context is not None
        yield self.context.key, at, self.count.get()

    def close(self) -> None:
        self.events.append("close")


def reminders(records: list[Record], delay: int, out_of_orderness: int) -> list[Any]:
    """The plain evaluation, record by record."""
    watermark = -math.inf
    count: Counter[str] = Counter()
    pending: set[tuple[int, str]] = set()
    out: list[Any] = []

    def fire() -> None:
        for at, name in sorted(pending):
            if at <= watermark:
                pending.discard((at, name))
                out.append((name, at, count[name]))

    for name, moment in records:
        watermark = max(watermark, moment - out_of_orderness)
        fire()
        count[name] += 1
        pending.add((moment + delay, name))
        fire()
    watermark = math.inf
    fire()
    return out


@given(
    records=RECORDS,
    delay=st.integers(0, 12),
    out_of_orderness=st.integers(0, 10),
    config=RUNS,
    parallelism=st.integers(1, 3),
)
@settings(max_examples=80, deadline=None)
def test_event_timers_equal_plain_python(
    records: list[Record],
    delay: int,
    out_of_orderness: int,
    config: dict[str, Any],
    parallelism: int,
) -> None:
    """Each timer fires once, with the state as it was then, whatever the batches and replicas."""
    env = LocalEnvironment(config=config)
    out: list[Any] = []
    env.from_collection(records).keyby(key).process(
        Reminder,
        delay=delay,
        timestamp=time,
        out_of_orderness=out_of_orderness,
        parallelism=parallelism,
    ).sink(out.append)
    env.submit(autostop=True)
    assert Counter(out) == Counter(reminders(records, delay, out_of_orderness))


def test_processing_timers_follow_the_injected_clock() -> None:
    """A timer fires when the clock has reached it, without a next record, in the timers' order;
    one that was cancelled does not; one set twice fires once."""
    clock = Clock()
    fired: list[tuple[float, str, float]] = []

    def remember(record: str, context: RuntimeContext) -> None:
        context.timer(context.processing_time + 10)
        context.timer(context.processing_time + 10)
        context.timer(context.processing_time + 5)
        if record == "b":
            context.cancel_timer(context.processing_time + 5)

    def on_timer(at: float, context: RuntimeContext) -> list[str]:
        fired.append((clock.now, context.key, at))
        return [f"{context.key}@{at}"]

    steps = [(100.0, "a"), (102.0, "b"), (104.0, None), (105.0, None), (111.0, None), (113.0, "c")]
    env = LocalEnvironment(config={"workers": "inline"}, clock=clock)
    out: list[str] = []
    env.from_source(moved(clock, steps)).keyby(lambda record: record).process(
        remember, on_timer=on_timer
    ).sink(out.append)
    env.submit(autostop=True)
    assert fired == [
        (105.0, "a", 105.0),
        (111.0, "a", 110.0),
        (113.0, "b", 112.0),
        (113.0, "c", 118.0),
        (113.0, "c", 123.0),
    ]
    assert out == ["a@105.0", "a@110.0", "b@112.0", "c@118.0", "c@123.0"]


def test_operators_are_opened_and_closed(env: LocalEnvironment) -> None:
    """An instance lives as any operator's does."""
    reminder = Reminder(1)
    env.from_collection([("a", 1)]).keyby(key).process(reminder, timestamp=time).sink(
        lambda _: None
    )
    env.submit(autostop=True)
    assert reminder.events == ["open", "close"]


def test_watermarks_from_further_up(env: LocalEnvironment) -> None:
    """After event_time, timers go by its watermarks."""
    out: list[Any] = []
    env.from_collection([("a", 1), ("a", 20), ("b", 3)]).event_time(time, 2).keyby(key).process(
        Reminder, timestamp=time
    ).sink(out.append)
    env.submit(autostop=True)
    assert Counter((name, at) for name, at, _ in out) == Counter([("a", 6), ("a", 25), ("b", 8)])


def test_times_at_hand(env: LocalEnvironment) -> None:
    """The context tells the record's time and the watermark."""
    out: list[Any] = []
    env.from_collection([("a", 3), ("a", 9)]).keyby(key).process(
        lambda record, context: [(context.timestamp, context.watermark)],
        timestamp=time,
        out_of_orderness=2,
    ).sink(out.append)
    env.submit(autostop=True)
    assert out == [(3, 1), (9, 7)]


def test_a_timer_in_the_past_fires_after_the_record(env: LocalEnvironment) -> None:
    """It need not wait for the next one."""
    out: list[Any] = []

    def set_past(record: Record, context: RuntimeContext) -> list[Any]:
        context.timer(record[1] - 100)
        return [record]

    env.from_collection([("a", 3), ("a", 9)]).keyby(key).process(
        set_past, on_timer=lambda at, context: [at], timestamp=time
    ).sink(out.append)
    env.submit(autostop=True)
    assert out == [("a", 3), -97, ("a", 9), -91]


def test_a_timer_that_sets_itself_again_ends_with_the_input(env: LocalEnvironment) -> None:
    """Each timer set when the input ends fires once; what they set then is counted."""
    out: list[float] = []

    def again(at: float, context: RuntimeContext) -> list[float]:
        context.timer(at + 10)
        return [at]

    env.from_collection([("a", 0), ("a", 35)]).keyby(key).process(
        lambda record, context: context.timer(10), on_timer=again, timestamp=time
    ).sink(out.append)
    result = env.submit(autostop=True)
    assert out == [10, 20, 30, 10, 20, 30, 40]
    assert result.operators[-2].metrics == {"timers_after_the_end": 1}


def test_in_processes() -> None:
    """Timers and state live in worker processes; watermarks reach them there."""
    env = LocalEnvironment(config={"workers": "process"})
    records = [("abc"[index % 3], index) for index in range(60)]
    out: list[Any] = []
    env.from_collection(records).keyby(key).process(Reminder, timestamp=time, parallelism=2).sink(
        out.append
    )
    env.submit(autostop=True)
    assert Counter(out) == Counter(reminders(records, 5, 0))


def remember(record: Record, context: RuntimeContext) -> None:
    context.timer(context.processing_time + 0.02)


def fired(at: float, context: RuntimeContext) -> list[str]:
    return [context.key]


def test_processing_timers_in_processes() -> None:
    """The clock wakes a worker process, without a next record."""
    out: list[str] = []

    def source() -> Iterator[Record | None]:
        yield ("a", 1)
        yield from iter(lambda: None if not out else 1, 1)

    env = LocalEnvironment(config={"workers": "process"})
    env.from_source(source).keyby(key).process(remember, on_timer=fired).sink(out.append)
    env.submit(autostop=True)
    assert out == ["a"]


def test_event_timers_need_event_time(env: LocalEnvironment) -> None:
    """A timer that nothing would ever fire is an error."""
    env.from_collection([("a", 1)]).keyby(key).process(
        lambda record, context: context.timer(5, time="event")
    ).sink(lambda _: None)
    with pytest.raises(OperatorError, match=r"give process\(timestamp=…\)"):
        env.submit(autostop=True)


def test_timers_are_for_process(env: LocalEnvironment) -> None:
    """Another operator is never woken by one."""

    class Timer(ProcessFunction):
        def execute(self, data: Record) -> None:
            assert self.context is not None
            self.context.timer(5)

    env.from_collection([("a", 1)]).keyby(key).map(Timer()).sink(lambda _: None)
    with pytest.raises(OperatorError, match=r"only operators of process\(\)"):
        env.submit(autostop=True)


@pytest.mark.parametrize(
    ("at", "domain", "message"),
    [(math.inf, None, "a timer was set for inf"), (5, "lunar", "time is 'lunar'")],
)
def test_wrong_timers(env: LocalEnvironment, at: float, domain: str | None, message: str) -> None:
    """The error names the value."""
    env.from_collection([("a", 1)]).keyby(key).process(
        lambda record, context: context.timer(at, time=domain)
    ).sink(lambda _: None)
    with pytest.raises(OperatorError, match=message):
        env.submit(autostop=True)


def test_an_operator_defines_its_own_on_timer() -> None:
    """Two would be one too many."""
    keyed = LocalEnvironment().from_collection([("a", 1)]).keyby(key)
    with pytest.raises(GraphError, match=r"define on_timer\(\) in it"):
        keyed.process(Reminder, on_timer=lambda at, context: None)


def test_async_is_refused() -> None:
    """One key is at hand at a time."""

    async def call(record: Record, context: RuntimeContext) -> None:
        return None

    with pytest.raises(GraphError, match="call is async"):
        LocalEnvironment().from_collection([("a", 1)]).keyby(key).process(call)

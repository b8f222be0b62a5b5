"""Which embedding requests share a call, in what order, and how large ones are cut."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.errors import ConfigError, InferenceError
from sage.inference.scheduling.coalescing import Call, CallLimits, Coalescer, Lane, choose_lane

# What a core may hold, small enough that requests are cut and wait.
LIMITS = st.builds(
    CallLimits,
    max_inputs=st.integers(1, 12),
    max_tokens=st.integers(1, 60),
    max_calls=st.integers(1, 9),
)
LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=20)
# A request (lengths, priority), the end of the oldest call, the departure of a request, or time.
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), LENGTHS, st.sampled_from([0, 0, -10, 10])),
        st.tuples(st.just("end")),
        st.tuples(st.just("drop"), st.integers(0, 30)),
        st.tuples(st.just("wait"), st.floats(0, 2)),
    ),
    max_size=40,
)


def calls_now(core: Coalescer, now: float = 0.0) -> list[Call]:
    """Return every call the core wants made now."""
    made = []
    while (call := core.next_call(now)) is not None:
        made.append(call)
    return made


def ids(call: Call) -> list[int]:
    """Return whose pieces a call carries."""
    return [piece.request_id for piece in call.pieces]


class World:
    """Feeds a core with events and keeps what it said."""

    def __init__(self, limits: CallLimits) -> None:
        self.core = Coalescer(limits)
        self.limits = limits
        self.now = 0.0
        self.lengths: dict[int, list[int]] = {}
        self.pieces: dict[int, Any] = {}
        self.dropped: Counter[tuple[int, int]] = Counter()
        self.running: list[Call] = []
        self.calls: list[Call] = []

    def play(self, events: list[Any]) -> None:
        for kind, *args in events:
            getattr(self, kind)(*args)
            self.pump()

    def pump(self) -> None:
        made = calls_now(self.core, self.now)
        self.running += made
        self.calls += made
        assert len(self.running) <= self.limits.max_calls
        bulk = sum(call.lane is Lane.BULK for call in self.running)
        assert bulk <= self.limits.bulk_calls

    def submit(self, lengths: list[int], priority: int) -> None:
        number = len(self.lengths)
        self.lengths[number] = lengths
        self.pieces[number] = self.core.submit(number, lengths, priority, self.now)

    def end(self) -> None:
        if self.running:
            self.core.ended(self.running.pop(0))

    def drop(self, number: int) -> None:
        for piece in self.pieces.get(number, ()):
            if self.core.drop(piece):
                self.dropped.update((number, position) for position in piece.positions)

    def wait(self, seconds: float) -> None:
        self.now += seconds

    def finish(self) -> None:
        while self.running:
            self.end()
            self.pump()


@given(LIMITS, EVENTS)
def test_every_input_is_in_exactly_one_call_or_was_dropped(
    limits: CallLimits, events: list[Any]
) -> None:
    """Nothing is lost, nothing is asked for twice, and no call is left open."""
    world = World(limits)
    world.play(events)
    world.finish()
    seen = Counter(
        (call.pieces[number].request_id, position)
        for call in world.calls
        for number, position in call.inputs()
    )
    wanted = Counter(
        (number, position)
        for number, lengths in world.lengths.items()
        for position in range(len(lengths))
    )
    assert seen + world.dropped == wanted
    assert world.core.waiting == world.core.running == 0


@given(LIMITS, EVENTS)
def test_no_call_is_above_the_limits(limits: CallLimits, events: list[Any]) -> None:
    """A call keeps to both limits, but for one input that is above the tokens by itself."""
    world = World(limits)
    world.play(events)
    world.finish()
    for call in world.calls:
        lengths = [length for piece in call.pieces for length in piece.lengths]
        assert len(lengths) <= limits.max_inputs
        assert sum(lengths) <= limits.max_tokens or len(lengths) == 1
        assert {piece.lane for piece in call.pieces} == {call.lane}


@given(LIMITS, EVENTS)
def test_the_same_events_form_the_same_calls(limits: CallLimits, events: list[Any]) -> None:
    """Decisions depend on the events alone."""
    worlds = [World(limits), World(limits)]
    for world in worlds:
        world.play(events)
        world.finish()
    first, second = ([(call.lane, call.inputs()) for call in w.calls] for w in worlds)
    assert first == second


@given(LIMITS, EVENTS)
def test_inputs_of_a_call_go_the_longest_first(limits: CallLimits, events: list[Any]) -> None:
    """An engine that batches a call as it comes pads little."""
    world = World(limits)
    world.play(events)
    for call in world.calls:
        lengths = [
            world.lengths[call.pieces[number].request_id][position]
            for number, position in call.inputs()
        ]
        assert lengths == sorted(lengths, reverse=True)


@given(LIMITS, st.lists(st.tuples(LENGTHS, st.sampled_from([0, -10])), max_size=10))
def test_nothing_starves_behind_an_endless_stream(
    limits: CallLimits, crowd: list[tuple[list[int], int]]
) -> None:
    """Once aged, bulk has its share of the calls, or every other one, whichever is less."""
    world = World(limits)
    for lengths, priority in crowd:
        world.submit(lengths, priority)
    world.submit([1] * 9, -10)
    last = len(world.lengths) - 1
    ahead = len([p for pieces in world.pieces.values() for p in pieces if p.lane is Lane.BULK])
    world.now = 10.0
    world.pump()
    turns = 0
    while not any(last in ids(call) for call in world.calls):
        world.submit([1], 0)
        world.submit([1] * 9, 0)
        world.end()
        world.pump()
        turns += 1
        # When bulk has its share on the wire, one of its calls has to end before it has another.
        turn = max(2, -(-limits.max_calls // limits.bulk_calls))
        assert turns <= turn * ahead + limits.max_calls


def test_a_request_that_finds_a_call_free_goes_at_once_and_alone() -> None:
    """Nobody waits for company."""
    core = Coalescer(CallLimits(max_calls=4))
    for number in range(4):
        core.submit(number, [5], 0, 0.0)
        (call,) = calls_now(core)
        assert call.alone
        assert ids(call) == [number]
    core.submit(4, [5], 0, 0.0)
    assert calls_now(core) == []


def test_what_waits_when_a_call_ends_goes_together() -> None:
    """Requests that came while every call was on the wire share the next one."""
    core = Coalescer(CallLimits(max_calls=1))
    core.submit(0, [5], 0, 0.0)
    (first,) = calls_now(core)
    for number, length in ((1, 3), (2, 9), (3, 6)):
        core.submit(number, [length, 1], 0, 0.0)
    core.ended(first)
    (call,) = calls_now(core)
    assert ids(call) == [1, 2, 3]
    assert call.inputs() == [(1, 0), (2, 0), (0, 0), (0, 1), (1, 1), (2, 1)]


def test_calls_share_what_waits() -> None:
    """The first call that ends does not take everything, so the next to end finds work too."""
    core = Coalescer(CallLimits(max_calls=4))
    running = []
    for number in range(64):
        core.submit(number, [10], 0, 0.0)
        running += calls_now(core)
    sizes = []
    for call in running:
        core.ended(call)
        (following,) = calls_now(core)
        sizes.append(len(following.pieces))
    assert sizes == [15, 15, 15, 15]


def test_a_call_takes_the_oldest_and_those_nearest_to_it_in_length() -> None:
    """When not all fit, length decides who goes with the oldest."""
    core = Coalescer(CallLimits(max_calls=1, max_tokens=30))
    core.submit(0, [1], 0, 0.0)
    (first,) = calls_now(core)
    for number, length in ((1, 10), (2, 25), (3, 1), (4, 9), (5, 11)):
        core.submit(number, [length], 0, 0.0)
    core.ended(first)
    (call,) = calls_now(core)
    assert ids(call) == [1, 4, 5]
    core.ended(call)
    assert [ids(call) for call in calls_now(core)] == [[2, 3]]


def test_interactive_requests_go_ahead_of_bulk() -> None:
    """A single text is not kept waiting by the bulk that came before it."""
    core = Coalescer(CallLimits(max_calls=2, max_tokens=100))
    core.submit(0, [50] * 20, 0, 0.0)
    (bulk,) = calls_now(core)
    assert bulk.lane is Lane.BULK
    core.submit(1, [5], 0, 0.0)
    (call,) = calls_now(core)
    assert ids(call) == [1]
    core.submit(2, [5], 0, 0.1)
    core.ended(bulk)
    (call,) = calls_now(core, 0.1)
    assert ids(call) == [2]


def test_bulk_that_has_waited_has_every_other_call() -> None:
    """Ageing lets bulk in without giving it everything."""
    core = Coalescer(CallLimits(max_calls=1, max_tokens=100), patience=1.0)
    core.submit(0, [50] * 20, 0, 0.0)
    lanes = []
    (call,) = calls_now(core)
    for number in range(1, 7):
        core.submit(number, [5], 0, 2.0)
        core.ended(call)
        (call,) = calls_now(core, 2.0)
        lanes.append(call.lane)
    assert lanes == [Lane.INTERACTIVE, Lane.BULK] * 3


def test_a_large_request_is_cut_into_equal_parts_of_like_lengths() -> None:
    """Parts are about equal in tokens and hold neighbours in length."""
    core = Coalescer(CallLimits(max_inputs=100, max_tokens=100, max_calls=9))
    pieces = core.submit(7, [30, 1, 31, 2, 29, 28, 3], 0, 0.0)
    assert [piece.positions for piece in pieces] == [(2, 0, 4), (5, 6, 3, 1)]
    assert not any(piece.whole for piece in pieces)
    core = Coalescer(CallLimits(max_inputs=100))
    assert [len(p.positions) for p in core.submit(8, [1] * 250, 0, 0.0)] == [84, 84, 82]


@pytest.mark.parametrize(
    ("lengths", "priority", "lane"),
    [
        ([1] * 8, 0, Lane.INTERACTIVE),
        ([1] * 9, 0, Lane.BULK),
        ([1], -1, Lane.BULK),
        ([101], 0, Lane.BULK),
        ([100], 10, Lane.INTERACTIVE),
    ],
)
def test_lane(lengths: list[int], priority: int, lane: Lane) -> None:
    """Bulk has many inputs, low priority, or more tokens than a call carries."""
    assert choose_lane(lengths, priority, CallLimits(max_tokens=100)) is lane


def test_mistakes_are_named() -> None:
    """A limit below one and a request without inputs are refused."""
    with pytest.raises(ConfigError, match="max_calls is 0; it must be at least 1"):
        CallLimits(max_calls=0)
    with pytest.raises(InferenceError, match="request 3 has no inputs"):
        Coalescer(CallLimits()).submit(3, [], 0, 0.0)

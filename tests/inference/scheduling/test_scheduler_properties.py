"""Whatever happens in whatever order, under every policy: sums agree, limits hold, all ends."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sage.inference.scheduling.decision import Decision, Dispatch
from sage.inference.scheduling.instance import InstanceSpec
from sage.inference.scheduling.request import Kind, Request
from sage.inference.scheduling.scheduler import Scheduler
from sage.inference.scheduling.slo import SLO
from sage.inference.scheduling.strategies import StrategyAdapter

POLICIES = [strategy.name for strategy in StrategyAdapter.list()]
MODELS = (("m",), ("n",), ("m", "n"))
ENDS = ("finished", "failed", "cancel", "undelivered")
SLOS = (None, SLO(ttft_s=1.0), SLO(deadline_s=4.0), SLO(0.5, 0.05, 10.0))
LIMITS = {"a": (1, None), "b": (2, 500), "c": (5, None)}
OPTIONS = {
    "max_queued": 4,
    "max_wait": 3.0,
    "slo_classes": {"chat": SLO(ttft_s=2.0)},
    "tenants": {"t": 3.0},
    "seed": 7,
}


class Driver:
    """Drives two schedulers with the same events beside a plain account of who is where."""

    def __init__(self, policy: str, *, tenants: bool) -> None:
        options = {**OPTIONS, "tenants": OPTIONS["tenants"] if tenants else None}
        self.core = Scheduler(policy, **options)
        self.twin = Scheduler(policy, **options)
        self.now = 0.0
        self.next_id = 1
        self.running: dict[int, str] = {}
        self.waiting: list[int] = []
        self.rejected = self.ended = 0
        self.tried: dict[int, set[str]] = {}

    def event(self, name: str, *args: object, **named: object) -> list[Decision]:
        decisions: list[Decision] = getattr(self.core, name)(*args, **named)
        twin = getattr(self.twin, name)(*args, **named)
        assert decisions == twin, "identical input, other decisions"
        self.carry_out(decisions)
        return decisions

    def carry_out(self, decisions: list[Decision]) -> None:
        for decision in decisions:
            number = decision.request_id
            self.waiting.remove(number)
            if isinstance(decision, Dispatch):
                assert number not in self.running, "dispatched twice"
                assert self.core.instance(decision.instance_id).up
                assert decision.instance_id not in self.tried.get(number, set())
                self.running[number] = decision.instance_id
            else:
                self.rejected += 1

    def submit(self, a: int, b: int) -> None:
        number, self.next_id = self.next_id, self.next_id + 1
        self.waiting.append(number)
        request = Request(
            number,
            Kind.LLM,
            "mnnmmnmx"[a % 8],
            self.now,
            prompt_tokens=(b % 16) * 40,
            expected_tokens=b % 5 * 10,
            priority=(a // 8 % 3 - 1) * 10,
            tenant=("", "t", "u")[b // 16 % 3],
            slo=SLOS[a // 32 % 4],
            prefix=tuple(range(b % 7)),
            cls=("", "chat", "bulk")[b // 64 % 3],
        )
        self.event("submit", request, self.now)

    def end(self, a: int, b: int) -> None:
        if not self.running:
            return
        number = sorted(self.running)[a % len(self.running)]
        end = ENDS[b % 4] if b < 64 else "finished"
        if end == "finished" and b % 3:
            self.event("usage", number, b, 1 + b // 8, self.now)
        name = self.running.pop(number)
        if end == "undelivered":
            self.tried.setdefault(number, set()).add(name)
            self.waiting.append(number)
        else:
            self.ended += 1
        self.event(end, number, self.now)

    def progress(self, a: int, b: int) -> None:
        if self.running:
            number = sorted(self.running)[a % len(self.running)]
            self.event("first_token", number, self.now)
            self.event("tokens", number, b % 4, self.now)

    def cancel_waiting(self, a: int) -> None:
        if self.waiting:
            number = self.waiting.pop(a % len(self.waiting))
            self.ended += 1
            self.event("cancel", number, self.now)

    def up(self, a: int, b: int) -> None:
        name = "abc"[a % 3]
        slots, tokens = LIMITS[name]
        spec = InstanceSpec(name, Kind.LLM, MODELS[b % 3], slots, tokens, 256, float(a % 3))
        self.event("instance_up", spec, self.now)

    def gone(self, a: int, b: int) -> None:
        known = [state.spec.id for state in self.core.instances()]
        if known:
            name = known[a % len(known)]
            if b % 2:
                self.event("instance_down", name, self.now, "test")
            else:
                self.event("instance_removed", name, self.now)

    def telemetry(self, a: int, b: int) -> None:
        known = [state.spec.id for state in self.core.instances()]
        if known:
            figures = {"running": a % 8, "waiting": b % 4, "kv_used": b / 255}
            self.event("telemetry", known[a % len(known)], self.now, **figures)

    def tick(self) -> None:
        self.event("tick", self.now)

    def check(self) -> None:
        assert self.core.invariants() == []
        counts = self.core.counts()
        assert counts.in_flight == len(self.running)
        assert counts.queued == len(self.waiting)
        assert counts.submitted == self.next_id - 1
        assert counts.accepted == (
            counts.done + counts.failed + counts.cancelled + counts.queued + counts.in_flight
        )
        ends = counts.rejected + counts.done + counts.failed + counts.cancelled
        assert ends == self.rejected + self.ended
        for state in self.core.instances():
            slots, tokens = LIMITS[state.spec.id]
            assert len(state.running) <= slots
            assert tokens is None or state.tokens <= tokens or len(state.running) == 1

    def run_dry(self) -> None:
        """Let everything end: with each request served, those that wait must follow."""
        for name in "abc":
            slots, tokens = LIMITS[name]
            spec = InstanceSpec(name, Kind.LLM, ("m", "n"), slots, tokens, 256)
            self.event("instance_up", spec, self.now)
        for _ in range(4 * (len(self.running) + len(self.waiting)) + 4):
            self.now += 1.0
            self.event("tick", self.now)
            for number in list(self.running):
                del self.running[number]
                self.ended += 1
                self.event("finished", number, self.now)
        assert not self.running
        assert not self.waiting, "a slot was free and its queue was not served"
        self.check()
        assert all(s.tokens == s.prefill == 0 for s in self.core.instances())
        assert self.core.stats(self.now) == self.twin.stats(self.now)


def run(driver: Driver, script: bytes) -> None:
    """Read a sequence of events from bytes, three an event."""
    for op, a, b in zip(script[::3], script[1::3], script[2::3], strict=False):
        driver.now += (op >> 4) * 0.04
        match op & 15:
            case 0 | 1 | 2 | 3 | 4:
                driver.submit(a, b)
            case 5 | 6 | 7:
                driver.end(a, b)
            case 8 | 9:
                driver.progress(a, b)
            case 10:
                driver.cancel_waiting(a)
            case 11 | 12:
                driver.up(a, b)
            case 13:
                driver.gone(a, b)
            case 14:
                driver.telemetry(a, b)
            case _:
                driver.tick()
        driver.check()


@pytest.mark.parametrize("policy", POLICIES)
@given(script=st.binary(min_size=30, max_size=120), tenants=st.booleans())
@settings(max_examples=600, deadline=None)
def test_every_sequence_of_events_keeps_the_books(
    policy: str, script: bytes, tenants: bool
) -> None:
    """600 sequences for each policy: see Driver.check, then everything ends."""
    driver = Driver(policy, tenants=tenants)
    driver.up(0, 2)
    driver.up(1, 0)
    run(driver, script)
    driver.run_dry()


BYTE = st.integers(0, 255)


class SchedulerMachine(RuleBasedStateMachine):
    """The same events, drawn as rules with preconditions, and policies that change on the way."""

    driver: Driver

    @initialize(policy=st.sampled_from(POLICIES), tenants=st.booleans())
    def start(self, policy: str, tenants: bool) -> None:
        self.driver = Driver(policy, tenants=tenants)

    @rule(a=BYTE, b=BYTE, wait=st.floats(0, 5))
    def submit(self, a: int, b: int, wait: float) -> None:
        self.driver.now += wait
        self.driver.submit(a, b)

    @precondition(lambda self: self.driver.running)
    @rule(a=BYTE, b=BYTE, wait=st.floats(0, 5))
    def end(self, a: int, b: int, wait: float) -> None:
        self.driver.now += wait
        self.driver.end(a, b)

    @precondition(lambda self: self.driver.running)
    @rule(a=BYTE, b=BYTE)
    def progress(self, a: int, b: int) -> None:
        self.driver.progress(a, b)

    @precondition(lambda self: self.driver.waiting)
    @rule(a=BYTE)
    def cancel_waiting(self, a: int) -> None:
        self.driver.cancel_waiting(a)

    @rule(a=BYTE, b=BYTE)
    def up(self, a: int, b: int) -> None:
        self.driver.up(a, b)

    @rule(a=BYTE, b=BYTE)
    def gone(self, a: int, b: int) -> None:
        self.driver.gone(a, b)

    @rule(a=BYTE, b=BYTE)
    def telemetry(self, a: int, b: int) -> None:
        self.driver.telemetry(a, b)

    @rule(policy=st.sampled_from(POLICIES))
    def set_policy(self, policy: str) -> None:
        self.driver.event("set_policy", policy, self.driver.now)

    @rule(wait=st.floats(0, 2))
    def tick(self, wait: float) -> None:
        self.driver.now += wait
        self.driver.tick()

    @invariant()
    def books_are_kept(self) -> None:
        self.driver.check()

    def teardown(self) -> None:
        if hasattr(self, "driver"):
            self.driver.run_dry()


SchedulerMachine.TestCase.settings = settings(
    max_examples=400, stateful_step_count=40, deadline=None
)
TestScheduler = pytest.mark.timeout(180)(SchedulerMachine.TestCase)

"""Whatever happens in whatever order: the sums agree, limits hold, and nothing is lost."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sage.inference.scheduling.decision import Decision, Dispatch
from sage.inference.scheduling.instance import InstanceSpec
from sage.inference.scheduling.request import Kind, Request
from sage.inference.scheduling.scheduler import Scheduler

NAMES = st.sampled_from(["a", "b", "c"])
MODELS = st.sampled_from([("m",), ("n",), ("m", "n")])
ENDS = st.sampled_from(["finished", "failed", "cancel", "undelivered"])


class SchedulerMachine(RuleBasedStateMachine):
    """Drives two schedulers with the same events beside a plain model of who is where."""

    def __init__(self) -> None:
        super().__init__()
        self.core = Scheduler(max_queued=4)
        self.twin = Scheduler(max_queued=4)
        self.now = 0.0
        self.next_id = 1
        self.running: dict[int, str] = {}
        self.waiting: list[int] = []
        self.rejected = self.ended = 0
        self.tried: dict[int, set[str]] = {}

    def event(self, name: str, *args: object) -> list[Decision]:
        decisions: list[Decision] = getattr(self.core, name)(*args)
        assert decisions == getattr(self.twin, name)(*args), "identical input, other decisions"
        return decisions

    def carry_out(self, decisions: list[Decision]) -> None:
        for decision in decisions:
            number = decision.request_id
            if number in self.waiting:
                self.waiting.remove(number)
            if isinstance(decision, Dispatch):
                assert number not in self.running, "dispatched twice"
                assert self.core.instance(decision.instance_id).up
                assert decision.instance_id not in self.tried.get(number, set())
                self.running[number] = decision.instance_id
            else:
                self.rejected += 1

    @rule(model=st.sampled_from(["m", "n", "x"]), wait=st.floats(0, 5))
    def submit(self, model: str, wait: float) -> None:
        self.now += wait
        number, self.next_id = self.next_id, self.next_id + 1
        self.waiting.append(number)
        request = Request(number, Kind.LLM, model, self.now)
        self.carry_out(self.event("submit", request, self.now))

    @precondition(lambda self: self.running)
    @rule(data=st.data(), end=ENDS, wait=st.floats(0, 5))
    def end(self, data: st.DataObject, end: str, wait: float) -> None:
        self.now += wait
        number = data.draw(st.sampled_from(sorted(self.running)))
        name = self.running.pop(number)
        if end == "undelivered":
            self.tried.setdefault(number, set()).add(name)
            self.waiting.append(number)
        else:
            self.ended += 1
        self.carry_out(self.event(end, number, self.now))

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def cancel_waiting(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.waiting)))
        self.waiting.remove(number)
        self.ended += 1
        self.carry_out(self.event("cancel", number, self.now))

    @rule(name=NAMES, models=MODELS, limit=st.integers(1, 3))
    def instance_up(self, name: str, models: tuple[str, ...], limit: int) -> None:
        spec = InstanceSpec(name, Kind.LLM, models, limit)
        self.carry_out(self.event("instance_up", spec, self.now))

    def known(self) -> list[str]:
        return [state.spec.id for state in self.core.instances()]

    @precondition(lambda self: self.known())
    @rule(data=st.data(), event=st.sampled_from(["down", "removed"]))
    def instance_gone(self, data: st.DataObject, event: str) -> None:
        name = data.draw(st.sampled_from(self.known()))
        args = (name, self.now, "test") if event == "down" else (name, self.now)
        self.carry_out(self.event(f"instance_{event}", *args))

    @rule()
    def tick(self) -> None:
        assert self.event("tick", self.now) == [], "a slot was free and its queue was not served"

    @invariant()
    def sums_agree(self) -> None:
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

    @invariant()
    def limits_hold(self) -> None:
        for state in self.core.instances():
            ours = {n for n, name in self.running.items() if name == state.spec.id}
            assert state.running <= ours


SchedulerMachine.TestCase.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None
)
TestScheduler = SchedulerMachine.TestCase


class LimitMachine(SchedulerMachine):
    """Without changes of limits: no instance ever holds more than it may."""

    def instance_up(self) -> None:  # type: ignore[override]
        return None

    @rule(name=NAMES, models=MODELS)
    def instance_up_with_limit(self, name: str, models: tuple[str, ...]) -> None:
        self.carry_out(self.event("instance_up", InstanceSpec(name, Kind.LLM, models, 2), self.now))

    @invariant()
    def never_over_the_limit(self) -> None:
        for state in self.core.instances():
            assert len(state.running) <= 2


LimitMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestLimits = LimitMachine.TestCase

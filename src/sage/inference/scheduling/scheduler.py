"""The scheduling core: a state machine fed with events, answering with decisions.

It does no I/O and has no clock: each event carries ``now``, in seconds of whatever clock the
caller uses, and the same events always give the same decisions.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sage.errors import ConfigError, InferenceError
from sage.inference.scheduling.decision import Decision, Dispatch, Reject
from sage.inference.scheduling.fleet import Fleet
from sage.inference.scheduling.instance import InstanceSpec, InstanceState
from sage.inference.scheduling.policies.fifo import fifo_policy
from sage.inference.scheduling.policy import SchedulingPolicy
from sage.inference.scheduling.queue import Entry, Group
from sage.inference.scheduling.request import Kind, Request


@dataclass(slots=True)
class Counts:
    """What became of the requests submitted so far.

    submitted = rejected + done + failed + cancelled + queued + in_flight, always.

    Attributes:
        retried: attempts that were taken from one instance to another; no request is counted
            twice for it, but each attempt is counted at its instance.
    """

    submitted: int = 0
    rejected: int = 0
    done: int = 0
    failed: int = 0
    cancelled: int = 0
    queued: int = 0
    in_flight: int = 0
    retried: int = 0

    @property
    def accepted(self) -> int:
        """Requests that were not refused."""
        return self.submitted - self.rejected


class Scheduler:
    """Decides which request goes to which instance, and when.

    Args:
        policy: order and placement; first come, first served on the least busy by default.
        max_queued: how many requests of one model may wait; more are rejected with 429.
        down_retry_after: seconds named to callers whose model has no instance up.

    Every event returns the decisions it brings about, in the order they are to be carried out.
    """

    def __init__(
        self,
        policy: SchedulingPolicy | None = None,
        *,
        max_queued: int = 1024,
        down_retry_after: float = 5.0,
    ) -> None:
        if max_queued < 0:
            raise ConfigError(f"max_queued is {max_queued}; it must be at least 0")
        self._policy = policy or fifo_policy()
        self._max_queued = max_queued
        self._down_retry_after = down_retry_after
        self._entries: dict[int, Entry] = {}
        self._fleet = Fleet()
        self._order = 0
        self._dispatches = 0
        self._queued = 0
        self._counts = Counts()

    # What there is

    @property
    def policy(self) -> SchedulingPolicy:
        """The policy in force."""
        return self._policy

    def instances(self) -> list[InstanceState]:
        """Return the instances as they were added; read them, do not change them."""
        return list(self._fleet.instances.values())

    def instance(self, instance_id: str) -> InstanceState:
        """Return one instance, or raise InferenceError naming those there are."""
        return self._fleet.instance(instance_id)

    def models(self, kind: Kind | None = None) -> list[tuple[str, Kind]]:
        """Return the models served, up or down, in the order they were added."""
        return self._fleet.models(kind)

    def counts(self) -> Counts:
        """Return a copy of the counts."""
        c = self._counts
        return Counts(
            c.submitted,
            c.rejected,
            c.done,
            c.failed,
            c.cancelled,
            self._queued,
            len(self._entries) - self._queued,
            c.retried,
        )

    # Requests

    def submit(self, request: Request, now: float) -> list[Decision]:
        """Take in a request: it is dispatched, rejected, or waits (no decision about it yet).

        Raises:
            InferenceError: a request of the same id has not ended yet.
        """
        if request.id in self._entries:
            raise InferenceError(f"request {request.id} was submitted before and has not ended")
        self._counts.submitted += 1
        group = self._fleet.groups.get((request.kind, request.model))
        if group is None or not group.instances:
            return [self._refuse(request, 404, self._fleet.unknown_model(request))]
        self._order += 1
        entry = Entry(request, self._order, group)
        if not group.waiting:
            instances = group.open_instances()
            if instances:
                chosen = self._policy.placement.choose(request, instances, now)
                if chosen is not None:
                    self._entries[request.id] = entry
                    return [self._dispatch(entry, chosen)]
            elif not group.up:
                return [
                    self._refuse(request, 503, self._fleet.none_up(group), self._down_retry_after)
                ]
        if group.waiting >= self._max_queued:
            reason = (
                f"{group.waiting} requests wait for {request.model!r} already, "
                "which is the limit; try again later"
            )
            return [self._refuse(request, 429, reason, group.retry_after())]
        self._entries[request.id] = entry
        group.queue.push(entry, now)
        self._queued += 1
        return self._drain((group,), now)

    def finished(self, request_id: int, now: float) -> list[Decision]:
        """A running request was served."""
        entry = self._running(request_id)
        self._counts.done += 1
        state = self._release(entry)
        state.done += 1
        entry.group.ended(now)
        return self._slot_freed(state, now)

    def failed(self, request_id: int, now: float) -> list[Decision]:
        """A running request failed at its instance and will not be tried again."""
        entry = self._running(request_id)
        self._counts.failed += 1
        state = self._release(entry)
        state.failed += 1
        return self._slot_freed(state, now)

    def undelivered(self, request_id: int, now: float) -> list[Decision]:
        """A dispatched request never reached its instance: give it to one it has not tried.

        It is dispatched again, waits for a slot on an untried instance, or is rejected with 502
        (and counted as failed) when no untried instance is up.
        """
        entry = self._running(request_id)
        state = self._release(entry)
        state.failed += 1
        entry.instance = None
        entry.tried = (*entry.tried, state.spec.id)
        decisions = self._retry(entry, now)
        return decisions + self._slot_freed(state, now)

    def cancel(self, request_id: int, now: float) -> list[Decision]:
        """A waiting or running request is no longer wanted."""
        entry = self._entries.get(request_id)
        if entry is None:
            raise InferenceError(f"request {request_id} is neither queued nor running")
        self._counts.cancelled += 1
        if entry.instance is None:
            self._unqueue(entry)
            del self._entries[request_id]
            return []
        state = self._release(entry)
        state.cancelled += 1
        return self._slot_freed(state, now)

    def waiting(self, request_id: int) -> bool:
        """Whether the request is queued, so it has no instance."""
        entry = self._entries.get(request_id)
        return entry is not None and entry.instance is None

    def first_token(self, request_id: int, now: float) -> list[Decision]:
        """A running request's first token came."""
        entry = self._running(request_id)
        if entry.first_token is None:
            entry.first_token = now
        return []

    def tokens(self, request_id: int, n: int, now: float) -> list[Decision]:  # noqa: ARG002 - events carry now
        """A running request generated ``n`` more tokens."""
        self._running(request_id).tokens += n
        return []

    # Instances

    def instance_up(self, spec: InstanceSpec, now: float) -> list[Decision]:
        """An instance is new, is back, or has changed its models or limit."""
        state, left = self._fleet.put(spec, self._policy.ordering)
        return self._abandon(left) + self._drain(self._fleet.groups_of(state), now)

    def instance_down(self, instance_id: str, now: float, reason: str) -> list[Decision]:  # noqa: ARG002 - events carry now
        """An instance takes no more work; what it runs is reported on its own.

        Requests that wait for a model with no instance left up are rejected with 503.
        """
        state = self.instance(instance_id)
        state.up, state.reason = False, reason
        return self._abandon(self._fleet.groups_of(state))

    def instance_removed(self, instance_id: str, now: float) -> list[Decision]:  # noqa: ARG002 - events carry now
        """An instance is gone for good; what it still runs is reported on its own."""
        return self._abandon(self._fleet.remove(instance_id))

    def set_policy(self, policy: SchedulingPolicy, now: float) -> list[Decision]:
        """Another policy rules from now on, for those that wait too."""
        self._policy = policy
        for group in self._fleet.groups.values():
            group.queue = group.queue.reordered(policy.ordering, now)
        return self.tick(now)

    def tick(self, now: float) -> list[Decision]:
        """Time has passed: place what a policy held back."""
        if not self._queued:
            return []
        return self._drain(tuple(self._fleet.groups.values()), now)

    # Placing

    def _dispatch(self, entry: Entry, state: InstanceState) -> Dispatch:
        self._dispatches += 1
        state.last_dispatch = self._dispatches
        state.dispatched += 1
        state.running.add(entry.request.id)
        entry.instance = state
        return Dispatch(entry.request.id, state.spec.id)

    def _slot_freed(self, state: InstanceState, now: float) -> list[Decision]:
        if not self._queued:
            return []
        return self._drain(self._fleet.groups_of(state), now)

    def _drain(self, groups: Iterable[Group], now: float) -> list[Decision]:
        decisions: list[Decision] = []
        served = [group for group in groups if group.waiting]
        for group in served:
            decisions += self._drain_retries(group)
        while served:
            heads = [(head, g) for g in served if (head := g.queue.peek(now)) is not None]
            if not heads:
                break
            (_, _, entry), group = min(heads, key=lambda item: item[0][:2])
            instances = group.open_instances()
            chosen = (
                self._policy.placement.choose(entry.request, instances, now) if instances else None
            )
            if chosen is None:
                served.remove(group)
                continue
            self._unqueue(entry)
            decisions.append(self._dispatch(entry, chosen))
        return decisions

    def _drain_retries(self, group: Group) -> list[Decision]:
        decisions: list[Decision] = []
        for entry in list(group.retries):
            instances = group.open_instances(entry.tried)
            if instances:
                self._unqueue(entry)
                self._counts.retried += 1
                decisions.append(self._dispatch(entry, least_recent(instances)))
        return decisions

    def _retry(self, entry: Entry, now: float) -> list[Decision]:
        group = entry.group
        if not _has_untried(entry):
            return [self._give_up(entry)]
        self._entries[entry.request.id] = entry
        instances = group.open_instances(entry.tried)
        if instances:
            chosen = self._policy.placement.choose(entry.request, instances, now)
            self._counts.retried += 1
            return [self._dispatch(entry, chosen or least_recent(instances))]
        group.retries.append(entry)
        self._queued += 1
        return []

    # Bookkeeping

    def _running(self, request_id: int) -> Entry:
        entry = self._entries.get(request_id)
        if entry is None or entry.instance is None:
            raise InferenceError(f"request {request_id} is not running")
        return entry

    def _release(self, entry: Entry) -> InstanceState:
        state = entry.instance
        assert state is not None
        del self._entries[entry.request.id]
        self._fleet.release(state, entry.request.id)
        return state

    def _unqueue(self, entry: Entry) -> None:
        if entry.waiting:
            entry.group.queue.remove(entry)
        else:
            entry.group.retries.remove(entry)
        self._queued -= 1

    # Refusing

    def _refuse(
        self, request: Request, status: int, reason: str, retry_after: float | None = None
    ) -> Reject:
        self._counts.rejected += 1
        return Reject(request.id, status, reason, retry_after)

    def _abandon(self, groups: list[Group]) -> list[Decision]:
        """Reject what waits for instances that cannot serve it any longer."""
        decisions: list[Decision] = []
        for group in groups:
            for entry in [e for e in group.retries if not _has_untried(e)]:
                self._unqueue(entry)
                del self._entries[entry.request.id]
                decisions.append(self._give_up(entry))
            if group.up:
                continue
            reason = self._fleet.none_up(group)
            for entry in sorted(group.queue, key=lambda e: e.order):
                self._unqueue(entry)
                del self._entries[entry.request.id]
                decisions.append(self._refuse(entry.request, 503, reason, self._down_retry_after))
        self._fleet.prune(groups)
        return decisions

    def _give_up(self, entry: Entry) -> Reject:
        self._counts.failed += 1
        tried = ", ".join(entry.tried)
        reason = f"no instance of {entry.group.model!r} could be reached; tried: {tried}"
        return Reject(entry.request.id, 502, reason)

    # Checking

    def invariants(self) -> list[str]:
        """Return what is inconsistent, counted afresh from the structures: [] when all is well."""
        c = self.counts()
        states = [*self._fleet.instances.values(), *self._fleet.retired]
        running = sum(len(state.running) for state in states)
        waiting = sum(1 for entry in self._entries.values() if entry.instance is None)
        in_queues = sum(group.waiting for group in self._fleet.groups.values())
        ends = c.rejected + c.done + c.failed + c.cancelled
        checks = {
            "submitted = ends + queued + in flight": c.submitted == ends + c.queued + c.in_flight,
            "in flight = running at instances": c.in_flight == running,
            "queued = waiting in queues": c.queued == waiting == in_queues,
            "a model with no instance up has no queue": all(
                group.up or not group.queue for group in self._fleet.groups.values()
            ),
        }
        broken = [name for name, holds in checks.items() if not holds]
        for state in states:
            ended = state.done + state.failed + state.cancelled
            if state.dispatched != ended + len(state.running):
                broken.append(f"{state.spec.id}: dispatched = ends + running")
        return broken


def least_recent(instances: Iterable[InstanceState]) -> InstanceState:
    """Return the instance whose last dispatch lies furthest back."""
    return min(instances, key=lambda state: state.last_dispatch)


def _has_untried(entry: Entry) -> bool:
    return any(s.up and s.spec.id not in entry.tried for s in entry.group.instances)

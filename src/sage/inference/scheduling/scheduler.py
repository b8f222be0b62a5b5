"""The scheduling core: a state machine fed with events, answering with decisions.

It does no I/O and has no clock: each event carries ``now``, in seconds of whatever clock the
caller uses, and the same events always give the same decisions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from sage.errors import ConfigError, InferenceError
from sage.inference.scheduling import policies
from sage.inference.scheduling.accounts import Accounts
from sage.inference.scheduling.checks import broken_sums
from sage.inference.scheduling.decision import Decision, Reject
from sage.inference.scheduling.dispatcher import Dispatcher
from sage.inference.scheduling.entry import Entry
from sage.inference.scheduling.estimators import TokenEstimator
from sage.inference.scheduling.fleet import Fleet
from sage.inference.scheduling.forecast import Forecast
from sage.inference.scheduling.group import Group
from sage.inference.scheduling.instance import InstanceSpec, InstanceState, Telemetry
from sage.inference.scheduling.ledger import Counts, Ledger
from sage.inference.scheduling.policy import Completion, SchedulingPolicy, make_policy
from sage.inference.scheduling.report import describe
from sage.inference.scheduling.request import Kind, Request
from sage.inference.scheduling.slo import SLO
from sage.inference.scheduling.statistics import Statistics
from sage.inference.scheduling.tenants import Tenant, TokenCounters

_REVIEW = 1.0


class Scheduler:
    """Decides which request goes to which instance, and when.

    Args:
        policy: order and placement, or the name of a registered policy; first come, first served
            on the least busy by default.
        max_queued: how many requests of one model may wait; more are rejected with 429. None for
            256 for each of its instances, and at least 1,024.
        down_retry_after: seconds named to callers whose model has no instance up.
        max_wait: seconds after which a waiting request is dispatched for its age: while there
            are such, one in eight dispatches of its model goes to the oldest of them. A policy
            that gives requests up turns those away that have lost their SLO by then, while
            others wait that can still keep theirs.
        slo_classes: what the requests of a class must meet, by class name ("llm" and
            "embedding" for those that name none).
        tenants: by name, their weights alone or with an SLO. When given, tenants take turns by
            the tokens they were served under every policy.
        seed: of a policy's random choices.

    Every event returns the decisions it brings about, in the order they are to be carried out.

    Raises:
        ConfigError: a limit out of range.
        UnknownKeyError: no policy of that name.
    """

    def __init__(
        self,
        policy: SchedulingPolicy | str | None = None,
        *,
        max_queued: int | None = None,
        down_retry_after: float = 5.0,
        max_wait: float = 30.0,
        slo_classes: Mapping[str, SLO] | None = None,
        tenants: Mapping[str, Tenant | float] | None = None,
        seed: int = 0,
    ) -> None:
        if max_queued is not None and max_queued < 0:
            raise ConfigError(f"max_queued is {max_queued}; it must be at least 0")
        if not max_wait >= 0.0:
            raise ConfigError(f"max_wait is {max_wait} s; it must be at least 0")
        self._max_queued = max_queued
        self._down_retry_after = down_retry_after
        self._fleet = Fleet()
        self._statistics = Statistics()
        counters = self._counters = TokenCounters(tenants)
        estimator = TokenEstimator()
        forecast = Forecast(
            self._fleet,
            estimator,
            counters,
            self._statistics,
            slo_classes=slo_classes or {},
            seed=seed,
        )
        self._accounts = Accounts(estimator, counters, forecast)
        self._ledger = Ledger(forecast, self._statistics)
        self._entries = self._ledger.entries
        self._order = 0
        self._reviewed = float("-inf")
        self._dispatcher = Dispatcher(
            self._fleet,
            self._accounts,
            forecast,
            counters,
            policy=_policy(policy),
            max_wait=max_wait,
        )

    # What there is

    @property
    def policy(self) -> SchedulingPolicy:
        """The policy in force."""
        return self._dispatcher.policy

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
        queued = self._dispatcher.queued
        return replace(
            self._ledger.counts,
            queued=queued,
            in_flight=len(self._entries) - queued,
            retried=self._dispatcher.retried,
        )

    def stats(self, now: float) -> dict[str, Any]:
        """Return figures by class, instance and model; see ``report.describe``."""
        return describe(
            self._fleet,
            self._statistics,
            self._entries,
            now,
            policy=self.policy.name,
            counts=self.counts(),
        )

    def waiting(self, request_id: int) -> bool:
        """Whether the request is queued, so it has no instance."""
        entry = self._entries.get(request_id)
        return entry is not None and entry.instance is None

    def next_wake(self, now: float) -> float | None:
        """Return when a tick may bring about something by itself; None when nothing waits.

        Callers that tick a few times a second may ignore it; a simulator need not tick between.
        """
        if not self._dispatcher.queued:
            return None
        times = [
            state.prefilling[0][0]
            for state in self._fleet.instances.values()
            if state.prefilling and self.policy.paced
        ]
        times += [t for g in self._fleet.groups.values() if (t := g.door.next_time()) is not None]
        return max(now, min(times)) if times else None

    # Requests

    def submit(self, request: Request, now: float) -> list[Decision]:
        """Take in a request: it is dispatched, rejected, or waits (no decision about it yet).

        Raises:
            InferenceError: a request of the same id has not ended yet.
        """
        if request.id in self._entries:
            raise InferenceError(f"request {request.id} was submitted before and has not ended")
        self._ledger.counts.submitted += 1
        group = self._fleet.groups.get((request.kind, request.model))
        if group is None or not group.instances:
            # Its class stays unmeasured: a name that nobody serves is the caller's mistake.
            self._ledger.counts.rejected += 1
            return [Reject(request.id, 404, self._fleet.unknown_model(request))]
        self._order += 1
        entry = Entry(request, self._order, group)
        self._accounts.arrives(entry)
        dispatcher = self._dispatcher
        if not (dispatcher.queued and dispatcher.contended(group)):
            chosen = dispatcher.choose(entry, now)
            if chosen is not None:
                self._entries[request.id] = entry
                return [dispatcher.dispatch(entry, chosen, now, waited=False)]
        if not group.up:
            reason = self._fleet.none_up(group)
            return [self._ledger.refuse(entry, 503, reason, self._down_retry_after, now)]
        return self._hold(entry, now)

    def finished(self, request_id: int, now: float) -> list[Decision]:
        """A running request was served."""
        entry = self._ledger.running(request_id)
        state = entry.instance
        assert state is not None
        self._accounts.learn(entry, state, now)
        self._ledger.served(entry, now)
        state.done += 1
        completed = self.policy.completed
        if completed is not None:
            first = entry.first_token
            ttft = None if first is None else first - entry.dispatched
            seconds = now - entry.dispatched
            completed(state, Completion(entry.request, ttft, seconds, entry.tokens))
        self._release(entry, state, now)
        entry.group.ended(now)
        return self._slot_freed(state, now)

    def failed(self, request_id: int, now: float) -> list[Decision]:
        """A running request failed at its instance and will not be tried again."""
        entry = self._ledger.running(request_id)
        state = entry.instance
        assert state is not None
        self._ledger.fail(entry, now)
        state.failed += 1
        self._release(entry, state, now)
        return self._slot_freed(state, now)

    def undelivered(self, request_id: int, now: float) -> list[Decision]:
        """A dispatched request never reached its instance: give it to one it has not tried.

        It is dispatched again, waits for a slot on an untried instance, or is rejected with 502
        (and counted as failed) when no untried instance is up.
        """
        entry = self._ledger.running(request_id)
        state = entry.instance
        assert state is not None
        state.failed += 1
        self._release(entry, state, now)
        self._accounts.undo(entry, state, fair=self._dispatcher.fair)
        entry.instance = None
        entry.tried = (*entry.tried, state.spec.id)
        decisions: list[Decision] = []
        if _has_untried(entry):
            self._entries[request_id] = entry
            dispatch = self._dispatcher.retry(entry, now)
            decisions += [] if dispatch is None else [dispatch]
        else:
            decisions.append(self._ledger.give_up(entry, now))
        return decisions + self._slot_freed(state, now)

    def cancel(self, request_id: int, now: float) -> list[Decision]:
        """A waiting or running request is no longer wanted."""
        entry = self._entries.get(request_id)
        if entry is None:
            raise InferenceError(f"request {request_id} is neither queued nor running")
        self._ledger.cancel(entry)
        state = entry.instance
        if state is None:
            self._dispatcher.unqueue(entry)
            del self._entries[request_id]
            # Those behind it may fit where it did not.
            return self._drain(self._fleet.neighbours(entry.group), now)
        state.cancelled += 1
        self._release(entry, state, now)
        return self._slot_freed(state, now)

    def first_token(self, request_id: int, now: float) -> list[Decision]:
        """A running request's first token came."""
        entry = self._ledger.running(request_id)
        state = entry.instance
        if entry.first_token is not None or state is None:
            return []
        self._accounts.first_token(entry, state, now)
        return self._slot_freed(state, now) if self.policy.paced else []

    def tokens(self, request_id: int, n: int, now: float) -> list[Decision]:  # noqa: ARG002 - events carry now
        """A running request generated ``n`` more tokens."""
        self._ledger.running(request_id).tokens += n
        return []

    def usage(
        self,
        request_id: int,
        prompt_tokens: int,
        completion_tokens: int,
        now: float,  # noqa: ARG002 - events carry now
    ) -> list[Decision]:
        """An engine has counted a running request's tokens; comes before ``finished``.

        Args:
            request_id: which.
            prompt_tokens: of its prompt; 0 when not told.
            completion_tokens: generated; 0 for embeddings and when not told.
            now: seconds of the caller's clock.
        """
        entry = self._ledger.running(request_id)
        fair = self._dispatcher.fair
        self._accounts.usage(entry, prompt_tokens, completion_tokens, fair=fair)
        return []

    # Instances

    def instance_up(self, spec: InstanceSpec, now: float) -> list[Decision]:
        """An instance is new, is back, or has changed its models or limits."""
        state, left = self._fleet.put(spec, self._dispatcher.new_queue)
        self._dispatcher.limits_changed()
        return self._abandon(left, now) + self._drain(self._fleet.groups_of(state), now)

    def instance_down(self, instance_id: str, now: float, reason: str) -> list[Decision]:
        """An instance takes no more work; what it runs is reported on its own.

        Requests that wait for a model with no instance left up are rejected with 503.
        """
        state = self.instance(instance_id)
        state.up, state.reason = False, reason
        return self._abandon(self._fleet.groups_of(state), now)

    def instance_removed(self, instance_id: str, now: float) -> list[Decision]:
        """An instance is gone for good; what it still runs is reported on its own."""
        left = self._fleet.remove(instance_id)
        self._statistics.instances.pop(instance_id, None)
        self._dispatcher.limits_changed()
        return self._abandon(left, now)

    def telemetry(
        self, instance_id: str, now: float, *, running: int, waiting: int, kv_used: float
    ) -> list[Decision]:
        """An engine tells of itself; for 5 s that adds to what the scheduler counts itself.

        Args:
            instance_id: which; InferenceError when there is none by that id.
            now: seconds of the caller's clock.
            running: requests it computes.
            waiting: requests in its own queue.
            kv_used: share of its KV cache in use, 0 to 1.
        """
        state = self.instance(instance_id)
        foreign = max(0, running + waiting - len(state.running))
        state.telemetry = Telemetry(now, foreign, waiting, kv_used)
        return self._slot_freed(state, now)

    # Time and policy

    def set_policy(self, policy: SchedulingPolicy | str, now: float) -> list[Decision]:
        """Another policy rules from now on, for those that wait too."""
        self._dispatcher.use(_policy(policy), now)
        return self._drain(tuple(self._fleet.groups.values()), now)

    def set_tenants(self, tenants: Mapping[str, Tenant | float], now: float) -> list[Decision]:
        """Other tenants are told apart from now on, by name, with weights or more."""
        self._counters.name_tenants(tenants)
        self._dispatcher.tenants_changed(now)
        return self._drain(tuple(self._fleet.groups.values()), now)

    def tick(self, now: float) -> list[Decision]:
        """Time has passed: place what was held back, turn away what has become hopeless."""
        review = self.policy.review
        if review is not None and now - self._reviewed >= _REVIEW:
            self._reviewed = now
            if review(now):
                self._dispatcher.rank_again(now)
        return self._drain(tuple(self._fleet.groups.values()), now)

    # Holding and letting go

    def _hold(self, entry: Entry, now: float) -> list[Decision]:
        decisions: list[Decision] = []
        group = entry.group
        if group.full(self._max_queued):
            reason = (
                f"{group.waiting} requests wait for {group.model!r} already, "
                "which is the limit; try again later"
            )
            leaves = entry
            if self.policy.sheds:
                size = self._dispatcher.triage.size(entry) if self.policy.triages else 0.0
                leaves = group.door.gives_way(entry.request.priority, size, now) or entry
            if leaves is entry:
                return [self._ledger.refuse(entry, 429, reason, group.retry_after(), now)]
            self._dispatcher.unqueue(leaves)
            reason = "it gave way in a full queue to a request that is more urgent"
            decisions.append(self._ledger.refuse(leaves, 429, reason, group.retry_after(), now))
        self._entries[entry.request.id] = entry
        self._dispatcher.enqueue(entry, now)
        return decisions + self._drain(self._fleet.neighbours(group), now)

    def _release(self, entry: Entry, state: InstanceState, now: float) -> None:
        del self._entries[entry.request.id]
        self._fleet.release(state, entry.request.id)
        self._accounts.release(entry, state, now)

    def _slot_freed(self, state: InstanceState, now: float) -> list[Decision]:
        if not self._dispatcher.queued:
            return []
        return self._drain(self._fleet.groups_of(state), now, state)

    def _drain(
        self, groups: Iterable[Group], now: float, freed: InstanceState | None = None
    ) -> list[Decision]:
        if not self._dispatcher.queued:
            return []
        decisions: list[Decision] = []
        if self.policy.sheds:
            for group in groups:
                for entry in group.door.useless(now):
                    self._dispatcher.unqueue(entry)
                    reason = "it cannot meet its deadline any longer"
                    retry_after = group.retry_after()
                    decisions.append(self._ledger.refuse(entry, 429, reason, retry_after, now))
        if self.policy.triages:
            for group in groups:
                for entry in self._dispatcher.triage.hopeless(group, now):
                    self._dispatcher.unqueue(entry)
                    reason = "its objective was lost while others could still meet theirs"
                    retry_after = group.retry_after()
                    decisions.append(self._ledger.refuse(entry, 429, reason, retry_after, now))
        # Whoever is behind one that was turned away may fit anywhere.
        return decisions + self._dispatcher.drain(groups, now, None if decisions else freed)

    def _abandon(self, groups: list[Group], now: float) -> list[Decision]:
        """Reject what waits for instances that cannot serve it any longer."""
        decisions: list[Decision] = []
        for group in groups:
            for entry in [e for e in group.retries if not _has_untried(e)]:
                self._dispatcher.unqueue(entry)
                decisions.append(self._ledger.give_up(entry, now))
            if group.up:
                continue
            reason = self._fleet.none_up(group)
            for entry in list(group.queue):
                self._dispatcher.unqueue(entry)
                refusal = self._ledger.refuse(entry, 503, reason, self._down_retry_after, now)
                decisions.append(refusal)
        self._fleet.prune(groups)
        return decisions

    def invariants(self) -> list[str]:
        """Return what is inconsistent, counted afresh from the structures: [] when all is well."""
        return broken_sums(self.counts(), self._fleet, self._entries)


def _policy(policy: SchedulingPolicy | str | None) -> SchedulingPolicy:
    if isinstance(policy, SchedulingPolicy):
        return policy
    return make_policy(policies.DEFAULT if policy is None else policy)


def _has_untried(entry: Entry) -> bool:
    return any(s.up and s.spec.id not in entry.tried for s in entry.group.instances)

"""Who goes where, within every limit there is."""

from __future__ import annotations

from collections.abc import Iterable

from sage.inference.scheduling.accounts import Accounts
from sage.inference.scheduling.admission import Door
from sage.inference.scheduling.decision import Dispatch
from sage.inference.scheduling.entry import Entry
from sage.inference.scheduling.fleet import Fleet
from sage.inference.scheduling.forecast import Forecast
from sage.inference.scheduling.group import Group
from sage.inference.scheduling.instance import InstanceState
from sage.inference.scheduling.policy import SchedulingPolicy
from sage.inference.scheduling.queue import Head, RequestQueue
from sage.inference.scheduling.request import is_bulk_embedding
from sage.inference.scheduling.tenants import TokenCounters
from sage.inference.scheduling.triage import Triage


class Dispatcher:
    """Keeps the queues and empties them into the instances, as the policy says.

    Args:
        fleet: the instances and their queues.
        accounts: what is charged at dispatch.
        forecast: what policies may ask.
        counters: of tenants.
        policy: ordering and placement.
        max_wait: seconds after which a waiting request gets a share by its age alone.

    Attributes:
        policy: the one in force.
        queued: how many requests wait.
        retried: how many attempts were taken to another instance.
        triage: who is given up, where the policy asks for that.
    """

    def __init__(
        self,
        fleet: Fleet,
        accounts: Accounts,
        forecast: Forecast,
        counters: TokenCounters,
        *,
        policy: SchedulingPolicy,
        max_wait: float,
    ) -> None:
        self._fleet = fleet
        self._accounts = accounts
        self._forecast = forecast
        self._counters = counters
        self._max_wait = max_wait
        self._dispatches = 0
        self._limited = False
        self._chunks = 0.5
        self.fair = False
        self.queued = 0
        self.retried = 0
        self.policy = policy
        self.triage = Triage(forecast, max_wait)
        self._bind()

    # The policy

    def use(self, policy: SchedulingPolicy, now: float) -> None:
        """Let another policy rule, over those that wait too."""
        self.policy = policy
        self._bind()
        self.rank_again(now)

    def tenants_changed(self, now: float) -> None:
        """Look up whether tenants take turns, and let those that wait do."""
        self.fair = self.policy.fair or bool(self._counters.tenants)
        self.rank_again(now)

    def rank_again(self, now: float) -> None:
        """Rank all that wait afresh."""
        for group in self._fleet.groups.values():
            waiting = group.queue
            group.queue, group.door = self.new_queue(), Door()
            for entry in waiting:
                self._push(entry, now)

    def new_queue(self) -> RequestQueue:
        """Return an empty queue under the policy."""
        return RequestQueue(self.policy.ordering, self._counters if self.fair else None)

    def limits_changed(self) -> None:
        """Look up whether anything but slots bounds what an instance may be given."""
        policy = self.policy
        bounded = any(s.spec.max_tokens is not None for s in self._fleet.instances.values())
        # What keeps streams at their pace need not be kept by short steps too, which waste time.
        self._chunks = 1.0 if policy.guards else 0.5
        self._limited = policy.paced or policy.guards or policy.reserved is not None or bounded

    def _bind(self) -> None:
        self.fair = self.policy.fair or bool(self._counters.tenants)
        self.limits_changed()
        if self.policy.bind is not None:
            self.policy.bind(self._forecast)

    # Waiting

    def enqueue(self, entry: Entry, now: float) -> None:
        """Let a request wait."""
        self._push(entry, now)
        self.queued += 1

    def unqueue(self, entry: Entry) -> None:
        """Take a waiting request out."""
        if entry.waiting:
            entry.group.queue.remove(entry)
        else:
            entry.group.retries.remove(entry)
        self.queued -= 1

    def _push(self, entry: Entry, now: float) -> None:
        group = entry.group
        if self.policy.triages:
            self.triage.size(entry)
        group.queue.push(entry, now)
        if self.policy.sheds:
            limits = self._forecast.limits(entry.request, now)
            group.door.enters(entry, *limits, live=len(group.queue))

    # Dispatching

    def contended(self, group: Group) -> bool:
        """Whether requests wait that a newcomer to the group must not slip past."""
        return bool(self.queued) and any(g.waiting for g in self._fleet.neighbours(group))

    def choose(self, entry: Entry, now: float, *, aged: bool = False) -> InstanceState | None:
        """Return the instance that is to serve a request now, or None to let it wait.

        Args:
            entry: the request.
            now: seconds of the caller's clock.
            aged: its turn has come by its age, so no slots are reserved from it.
        """
        instances = entry.group.open_instances(entry.tried)
        if self._limited:
            instances = self._roomy(instances, entry, now, aged)
        # Who goes by its age goes at any price.
        guards = self.policy.guards and not aged
        while instances:
            chosen = self.policy.placement.choose(entry.request, instances, now)
            if chosen is None or not guards or chosen.bears(entry, now):
                return chosen
            instances = [state for state in instances if state is not chosen]
        return None

    def dispatch(self, entry: Entry, state: InstanceState, now: float, *, waited: bool) -> Dispatch:
        """Give a request to an instance."""
        self._dispatches += 1
        state.last_dispatch = self._dispatches
        state.dispatched += 1
        state.running.add(entry.request.id)
        entry.instance = state
        self._accounts.charge(entry, state, now, fair=self.fair, waited=waited)
        if self.policy.triages:
            self.triage.begins(entry, state)
        return Dispatch(entry.request.id, state.spec.id)

    def drain(
        self, groups: Iterable[Group], now: float, freed: InstanceState | None = None
    ) -> list[Dispatch]:
        """Dispatch what waits in the groups for as long as it has somewhere to go.

        Args:
            groups: whose requests.
            now: seconds of the caller's clock.
            freed: the one instance that has become freer since the last time. A request at the
                head that does not fit there fits nowhere, or it would not be waiting.
        """
        decisions: list[Dispatch] = []
        served = [group for group in groups if group.waiting]
        for group in served:
            if group.retries:
                decisions += self._drain_retries(group, now)
            if self.policy.triages:
                self.triage.look(group, now)
        places = [] if freed is None else [freed]
        while served:
            served = [
                g for g in served if g.queue.live and self._any_takes(places or g.instances, now)
            ]
            picked = self._pick(served, now)
            if picked is None:
                break
            (_, _, entry), aged, group = picked
            fits = not (places and self._limited) or self._takes(places[0], entry, now, aged=aged)
            chosen = self.choose(entry, now, aged=aged) if fits else None
            if chosen is not None:
                self.unqueue(entry)
                decisions.append(self.dispatch(entry, chosen, now, waited=True))
                self._count_passes(served, group if aged else None, now)
            elif aged:
                # What it waits for must not go to others, or it would wait for ever.
                held = self._fleet.neighbours(group)
                served = [g for g in served if g not in held]
            else:
                served.remove(group)
        return decisions

    def retry(self, entry: Entry, now: float) -> Dispatch | None:
        """Give an undelivered request to an untried instance, or let it wait for one."""
        instances = [s for s in entry.group.open_instances(entry.tried) if _fits(s, entry)]
        if not instances:
            entry.group.retries.append(entry)
            self.queued += 1
            return None
        chosen = self.policy.placement.choose(entry.request, instances, now)
        self.retried += 1
        return self.dispatch(entry, chosen or least_recent(instances), now, waited=False)

    def _pick(self, served: list[Group], now: float) -> tuple[Head, bool, Group] | None:
        best: tuple[Head, bool, Group] | None = None
        for group in served:
            found = group.head(now, self._max_wait)
            if found is not None and (best is None or found[0][:2] < best[0][:2]):
                best = (*found, group)
        return best

    def _roomy(
        self, instances: list[InstanceState], entry: Entry, now: float, aged: bool
    ) -> list[InstanceState]:
        """Return those of the instances whose limits beyond slots have room for the request."""
        policy, request, prompt = self.policy, entry.request, entry.prompt
        kept = 0.0 if aged or policy.reserved is None else policy.reserved(request)
        chunks = self._chunks
        # Held back here it can still be given up, or be overtaken.
        bulk = (
            policy.triages and not aged and is_bulk_embedding(request, self._forecast.slo(request))
        )
        found = []
        for state in instances:
            spec = state.spec
            if spec.max_tokens is not None and not state.fits(entry.tokens_at(state)):
                continue
            if kept and len(state.running) >= spec.max_requests - int(kept * spec.max_requests):
                continue
            if policy.paced:
                room = state.prefill_room(now, chunks)
                # What it has cached is looked up only where that decides.
                if room < prompt and (room <= 0 or room < state.uncached(request, prompt)):
                    continue
            if bulk and not state.wants_bulk:
                continue
            found.append(state)
        return found

    def _takes(self, state: InstanceState, entry: Entry, now: float, *, aged: bool = False) -> bool:
        """Whether one instance has room for the request, and its streams bear it where guarded."""
        if not self._roomy([state], entry, now, aged):
            return False
        return aged or not self.policy.guards or state.bears(entry, now)

    def _any_takes(self, instances: list[InstanceState], now: float) -> bool:
        """Whether any instance has a slot, and is not full of waiting prefill where paced."""
        paced, chunks = self.policy.paced, self._chunks
        for state in instances:
            if not state.up or len(state.running) >= state.spec.max_requests:
                continue
            if not paced or state.prefill_room(now, chunks) > 0:
                return True
        return False

    def _count_passes(self, served: list[Group], by_age: Group | None, now: float) -> None:
        for group in served:
            if group is by_age or group.aged(now, self._max_wait) is None:
                group.passed = 0
            else:
                group.passed += 1

    def _drain_retries(self, group: Group, now: float) -> list[Dispatch]:
        decisions: list[Dispatch] = []
        for entry in list(group.retries):
            instances = [s for s in group.open_instances(entry.tried) if _fits(s, entry)]
            if instances:
                self.unqueue(entry)
                self.retried += 1
                chosen = least_recent(instances)
                decisions.append(self.dispatch(entry, chosen, now, waited=False))
        return decisions


def least_recent(instances: Iterable[InstanceState]) -> InstanceState:
    """Return the instance whose last dispatch lies furthest back."""
    return min(instances, key=lambda state: state.last_dispatch)


def _fits(state: InstanceState, entry: Entry) -> bool:
    return state.fits(entry.tokens_at(state))

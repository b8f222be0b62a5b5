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
from sage.inference.scheduling.tenants import TokenCounters
from sage.inference.scheduling.triage import too_many

_NEVER = float("inf")
# Seconds between two looks at who is to be given up: it takes about a microsecond for each that
# waits, so the longer the queue the less often.
_LOOK = 0.05
_LOOK_PAIR = 1e-8
_PACE_MEMORY = 2.0

# A way to the instance that has the prompt is worth a wait when it saves so much of the prefill,
_WORTH = 0.3
# and what is ahead of it there takes so many times the prefill alone, since streams go on.
_PATIENCE = 1.5


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
                entry.shelf = ""
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

    def forsake(self, instance_id: str, now: float) -> None:
        """Let none wait for an instance that takes no more work."""
        for group in self._fleet.groups.values():
            group.queue.take_back(now, instance_id)

    def _push(self, entry: Entry, now: float) -> None:
        group = entry.group
        self.sizes(entry)
        home = self._home(entry, now)
        if home is None:
            group.queue.push(entry, now)
        else:
            state, until, seconds = home
            group.queue.set_aside(entry, state.spec.id, now, until=until, seconds=seconds)
        if self.policy.sheds:
            limits = self._forecast.limits(entry.request, now)
            group.door.enters(entry, *limits, live=len(group.queue))

    # Dispatching

    def contended(self, group: Group) -> bool:
        """Whether requests wait that a newcomer to the group must not slip past."""
        return bool(self.queued) and any(g.waiting for g in self._fleet.neighbours(group))

    def choose(
        self, entry: Entry, now: float, *, aged: bool = False, waits: bool = False
    ) -> InstanceState | None:
        """Return the instance that is to serve a request now, or None to let it wait.

        Args:
            entry: the request.
            now: seconds of the caller's clock.
            aged: its turn has come by its age, so no slots are reserved from it.
            waits: whether it may wait for the instance that has its prompt cached.
        """
        instances = entry.group.open_instances(entry.tried)
        if waits and self._home(entry, now) is not None:
            return None
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
            group: Group = entry.group
            group.begun += state.stalls.steps.whole(
                entry.new, entry.prompt - entry.new, entry.output
            )
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
                self._triage(group, now)
            if group.queue.shelves:
                group.queue.take_back(now)
                decisions += self._drain_shelves(group, now, freed)
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

    def _drain_shelves(
        self, group: Group, now: float, freed: InstanceState | None
    ) -> list[Dispatch]:
        """Dispatch what was set aside for instances that have room now, unless others go first."""
        decisions: list[Dispatch] = []
        queue = group.queue
        for state in group.instances if freed is None else (freed,):
            while (shelf := queue.shelves.get(state.spec.id)) is not None:
                head = shelf.peek(state.spec.id)
                if head is None or not self._any_takes([state], now):
                    break
                first = group.head(now, self._max_wait)
                if first is not None and first[0][:2] < head[:2]:
                    break
                if not self._takes(state, head[2], now):
                    break
                self.unqueue(head[2])
                decisions.append(self.dispatch(head[2], state, now, waited=True))
                self._count_passes([group], None, now)
        return decisions

    def hopeless(self, group: Group, now: float) -> list[Entry]:
        """Return those that have waited too long and lost their SLO, while others may keep it."""
        found: list[Entry] = []
        if group.aged(now, self._max_wait) is None:
            return found
        head = group.queue.peek(now)
        if head is None or not head[0] or head[0][0] > 0.0:
            return found
        for entry in group.queue:
            if now - entry.request.arrived <= self._max_wait:
                break
            if self._forecast.start_times(entry.request, now)[1] < now:
                found.append(entry)
            else:
                break
        return found

    def _triage(self, group: Group, now: float) -> None:
        """Give up those whose work keeps most others late, when not all can be in time."""
        queue = group.queue
        spell = now - group.looked
        if spell < max(_LOOK, _LOOK_PAIR * queue.live * queue.live):
            return
        up = sum(state.up for state in group.instances)
        if spell > 1.0 or not group.pace:
            group.pace = float(up)
        else:
            group.pace += min(1.0, spell / _PACE_MEMORY) * (group.begun / spell - group.pace)
        group.looked, group.begun = now, 0.0
        pace = min(max(group.pace, 0.25 * up), 2.0 * up)
        jobs: list[tuple[float, float, int, Entry]] = []
        for entry in queue:
            cautious, start_by, _ = self._forecast.start_times(entry.request, now)
            if now <= start_by < _NEVER:
                size = entry.size or self.sizes(entry)
                jobs.append((max(0.0, cautious - now) * pace + size, size, entry.order, entry))
        jobs.sort()
        restored: list[Entry] = []
        lost = set(too_many([(job[0], job[1]) for job in jobs]))
        for place, job in enumerate(jobs):
            entry = job[3]
            if place in lost:
                if not entry.lost:
                    entry.lost = True
                    group.door.given_up(entry)
            elif entry.lost:
                restored.append(entry)
        if restored:
            queue.restore(restored, now)

    def sizes(self, entry: Entry) -> float:
        """Predict the seconds of one engine that a request will take; 0 where nobody asks."""
        if entry.size or not self.policy.triages:
            return entry.size
        request, prompt = entry.request, entry.prompt
        group: Group = entry.group
        for state in group.instances:
            if state.stalls.steps.ready:
                new = state.uncached(request, prompt)
                seconds = state.stalls.steps.whole(new, prompt - new, entry.output)
                if not entry.size or seconds < entry.size:
                    entry.size = seconds
                if not request.prefix:
                    break
        return entry.size

    def _home(self, entry: Entry, now: float) -> tuple[InstanceState, float, float] | None:
        """Return the busy instance whose cached prompt is worth a wait, until when, and prefill."""
        request, prompt = entry.request, entry.prompt
        if not (self.policy.homes and request.prefix) or entry.aside:
            return None
        group: Group = entry.group
        home, least, cold = None, 0.0, 0.0
        for state in group.instances:
            steps = state.stalls.steps
            if not state.up or not steps.ready:
                return None
            new = state.uncached(request, prompt)
            seconds = steps.prefill(new, prompt - new)
            if home is None or seconds < least:
                home, least = state, seconds
            cold = max(cold, seconds)
        if home is None or cold - least < _WORTH * cold:
            return None
        if self._takes(home, entry, now):
            return None
        until = min(self._forecast.start_times(request, now)[1], now + self._max_wait)
        shelf = group.queue.shelves.get(home.spec.id)
        ahead = home.stalls.given - home.stalls.done + (0.0 if shelf is None else shelf.seconds)
        if now + _PATIENCE * ahead > until:
            return None
        return home, until, max(least, 1e-9)

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

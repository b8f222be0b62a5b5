"""An LLM engine that batches continuously, as a discrete-event model by steps."""

from __future__ import annotations

import heapq
from collections import deque

from sage.benchmark.simulate.engine_request import Emission, EngineLoad, EngineRequest
from sage.benchmark.simulate.kv_cache import KvCache
from sage.benchmark.simulate.profile import LlmProfile
from sage.benchmark.simulate.step_plan import StepPlan
from sage.benchmark.token_log import TokenLog
from sage.inference.scheduling.instance import InstanceSpec

_NEVER = float("inf")


class LlmEngine:
    """Steps as vLLM V1's scheduler forms them.

    Each step decodes a token of every running request and fills what is left of its token budget
    with prompts, those begun first and then those that wait, in order of arrival; a prompt that
    does not fit is cut. A request runs once there is KV cache for its whole prompt; when decoding
    finds none left, the request that came last starts over. Where the profile says so, a step is
    put together when the one before begins, so that an arrival waits for a whole step more.

    Steps that only decode are planned in one stretch up to the next end, in closed form, and the
    stretch is cut when something arrives; so the work is by request, not by token.

    Args:
        profile: times and limits.
        spec: what the scheduler is told of it.
        lag: seconds between gateway and engine, one way.
        hash_tokens: prompt tokens that one of a request's hashes stands for.
    """

    __slots__ = (
        "_async",
        "_batch",
        "_cache",
        "_caching",
        "_cancels",
        "_capacity",
        "_context",
        "_door",
        "_each",
        "_end",
        "_ends",
        "_floor",
        "_growth",
        "_hash_blocks",
        "_hash_tokens",
        "_in",
        "_lag",
        "_leaving",
        "_order",
        "_out",
        "_plan",
        "_prefilling",
        "_running",
        "_t",
        "_waiting",
        "log",
        "preemptions",
        "spec",
        "wake",
    )

    def __init__(
        self, profile: LlmProfile, spec: InstanceSpec, *, lag: float = 0.0, hash_tokens: int = 512
    ) -> None:
        self.spec = spec
        self.wake = _NEVER
        self.log = TokenLog()
        self.preemptions = 0
        times, capacity = profile.times, profile.capacity
        self._async = profile.asynchronous
        self._caching = profile.prefix_caching
        self._capacity = capacity
        # In seconds, and where each is needed.
        self._t = tuple(
            value / 1000 for value in (times.b0, times.b1, times.b2, times.p0, times.c1, times.c2)
        )
        self._floor = ((times.b0 + 2.0) / 1000, times.floor / 1000, times.graph_tokens)
        self._in = lag + times.h_in / 1000
        self._out = times.h_out / 1000
        self._each = times.h_each / 1000
        self._door = 0.0
        self._lag = lag
        self._hash_tokens = hash_tokens
        self._hash_blocks = max(1, hash_tokens // capacity.block_size)
        self._cache = KvCache(capacity.num_gpu_blocks, self._hash_blocks)
        self._waiting: deque[tuple[float, EngineRequest]] = deque()
        self._cancels: deque[tuple[float, EngineRequest]] = deque()
        self._leaving: deque[tuple[float, EngineRequest]] = deque()
        self._running: dict[int, EngineRequest] = {}
        self._prefilling: deque[EngineRequest] = deque()
        # Requests by the step of their last token.
        self._ends: list[tuple[int, int, EngineRequest]] = []
        self._order = 0
        # Those that decode, the tokens they attend to in the next step, and how many of them need
        # one more block in the steps of each remainder.
        self._batch = 0
        self._context = 0
        self._growth = [0] * capacity.block_size
        self._end = 0.0
        self._plan: StepPlan | None = None

    def refuses(self, request: EngineRequest) -> str:
        """Return why it cannot serve the request; empty when it can."""
        tokens = request.prompt + request.output
        longest = self._capacity.max_model_len
        room = self._capacity.num_gpu_blocks * self._capacity.block_size
        if tokens > longest:
            return f"{tokens} tokens are more than the engine's max_model_len of {longest}"
        if tokens > room:
            return f"{tokens} tokens are more than the engine's KV cache of {room}"
        return ""

    def submit(self, request: EngineRequest, now: float) -> None:
        """Take a request that the gateway sends now."""
        at = max(now + self._in, self._door + self._each)
        self._door = at
        request.context = request.left = request.prompt
        if request.hashes:
            # A prompt's last token is always computed, so its block is never taken from the cache.
            whole = (request.prompt - 1) // self._hash_tokens if self._caching else 0
            request.hashes = request.hashes[:whole]
        self._waiting.append((at, request))
        self._look_at(at)

    def cancel(self, request: EngineRequest, now: float) -> None:
        """Give up a request that has not ended; the gateway says so now."""
        at = now + self._in
        request.over = True
        self._cancels.append((at, request))
        self._look_at(at)

    def load(self) -> EngineLoad:
        """Return its figures."""
        cache = self._cache
        return EngineLoad(len(self._running), len(self._waiting), cache.used / cache.total)

    def step(self) -> Emission | None:
        """Book the steps planned before `wake`, and plan on."""
        now = self.wake
        left = self._book()
        if self._leaving or self._cancels:
            self._let_go(now)
        growth = self._room_to_decode(now)
        new, pairs = 0, 0.0
        done: list[EngineRequest] = []
        waiting = self._waiting
        if self._prefilling or (waiting and waiting[0][0] <= now and growth >= 0):
            new, pairs, done = self._prefill(now, growth)
        begin = max(now, self._end)
        if new:
            self._plan_step(begin, new, pairs, done)
            if self._async and new + self._batch > self._floor[2]:
                self._launch(now)
        elif self._batch:
            self._plan_run(begin, now)
        else:
            self._rest()
        if left is None:
            return None
        return Emission(self.log.times[-1] + self._lag, *left)

    # What is planned

    def _plan_step(self, begin: float, new: int, pairs: float, done: list[EngineRequest]) -> None:
        """One step with prefill."""
        _, b1, b2, p0, c1, c2 = self._t
        low, floor, graph = self._floor
        batch = self._batch
        seconds = p0 + c1 * new + c2 * pairs + b1 * batch + b2 * self._context
        seconds = max(seconds, floor if new + batch > graph else low, low)
        self._plan = StepPlan(begin, 1, seconds, 0.0, done)
        self.wake = begin if self._async else begin + seconds

    def _plan_run(self, begin: float, now: float) -> None:
        """Steps that only decode, up to the next end, a want of blocks, or an arrival."""
        batch = self._batch
        b0, b1, b2, *_ = self._t
        step = len(self.log.times)
        count = self._next_end() - step + 1
        if (count // self._capacity.block_size + 1) * batch > self._cache.free:
            count = 1
        plan = StepPlan(begin, count, b0 + b1 * batch + b2 * self._context, b2 * batch)
        if count > 1:
            at = _NEVER
            if self._waiting:
                at = self._waiting[0][0]
                if at <= now:
                    at = self._leaving[0][0] if self._leaving else _NEVER
            if self._cancels:
                at = min(at, self._cancels[0][0])
            if at < _NEVER:
                plan.cut(at, ahead=self._async)
        self._plan = plan
        self.wake = plan.wake(ahead=self._async)

    def _launch(self, now: float) -> None:
        """Launching a step kernel by kernel takes the engine's time from now on.

        The tokens of the step before are handed out afterwards, and what comes meanwhile can be
        in the step after.
        """
        launched = now + self._floor[1]
        times = self.log.times
        if times and times[-1] < launched + self._out and self._end > now:
            times[-1] = launched + self._out
        self.wake = max(self.wake, launched)

    def _rest(self) -> None:
        """Nothing can be computed: wait for what comes, or for room."""
        moments = [queue[0][0] for queue in (self._waiting, self._cancels) if queue]
        if self._leaving:
            moments.append(self._leaving[0][0])
        self.wake = max(self._end, min(moments)) if moments else _NEVER

    def _look_at(self, at: float) -> None:
        """Let what comes at `at` be seen by the first step that is put together from then on."""
        if self.wake <= at:
            return
        plan = self._plan
        if plan is None:
            self.wake = max(at, self._end)
        elif plan.count > 1:
            plan.cut(at, ahead=self._async)
            self.wake = plan.wake(ahead=self._async)

    # What has come about

    def _book(self) -> tuple[list[EngineRequest], list[EngineRequest]] | None:
        """Take the planned steps for done; return what leaves with the last of them."""
        plan = self._plan
        if plan is None:
            return None
        self._plan = None
        times = self.log.times
        first = len(times)
        self._end = plan.log(times, self._out)
        last = len(times) - 1
        batch = self._batch
        if batch:
            self._context += plan.count * batch
            self._cache.take(self._new_blocks(first, plan.count))
        firsts = [r for r in plan.done if self._joins(r, last)] if plan.done else []
        ended = []
        ends = self._ends
        while ends and ends[0][0] <= last:
            request = heapq.heappop(ends)[2]
            if request.since >= 0 and _last_step(request) == last:
                self._stops(request, last + 1)
                request.over = True
                self._leaving.append((self._end, request))
                ended.append(request)
        return (firsts, ended) if firsts or ended else None

    def _joins(self, request: EngineRequest, step: int) -> bool:
        """Its prompt is computed and it decodes; return whether this is its first token."""
        request.since = step
        request.phase = (step + 1 - request.context) % self._capacity.block_size
        self._growth[request.phase] += 1
        self._batch += 1
        self._context += request.context + 1
        self._order += 1
        heapq.heappush(self._ends, (_last_step(request), self._order, request))
        return not request.generated

    def _stops(self, request: EngineRequest, step: int) -> None:
        """It decodes in no step from `step` on."""
        tokens = step - request.since
        request.runs.append((request.since, step))
        request.since = -1
        request.generated += tokens
        self._growth[request.phase] -= 1
        self._batch -= 1
        self._context -= request.context + tokens
        held = -(-(request.context + tokens - 1) // self._capacity.block_size)
        request.blocks = held - request.held * self._hash_blocks

    def _let_go(self, now: float) -> None:
        """Free what requests held whose end, or whose cancelling, is known by now."""
        while self._leaving and self._leaving[0][0] <= now:
            self._free(self._leaving.popleft()[1])
        while self._cancels and self._cancels[0][0] <= now:
            request = self._cancels.popleft()[1]
            if request.id not in self._running:
                self._waiting = deque(item for item in self._waiting if item[1] is not request)
            elif request.since >= 0:
                self._stops(request, len(self.log.times))
                self._free(request)
            elif request in self._prefilling:
                self._prefilling.remove(request)
                self._free(request)

    def _free(self, request: EngineRequest) -> None:
        del self._running[request.id]
        self._cache.give(request.blocks, request.hashes[: request.held])
        request.blocks = request.held = 0

    # Room

    def _next_end(self) -> int:
        """Return the step of the next last token; some request decodes."""
        ends = self._ends
        while ends[0][2].since < 0 or _last_step(ends[0][2]) != ends[0][0]:
            heapq.heappop(ends)
        return ends[0][0]

    def _new_blocks(self, first: int, count: int) -> int:
        """Return the blocks that decoding takes in `count` steps from `first` on."""
        growth, size = self._growth, self._capacity.block_size
        if count == 1:
            return growth[first % size]
        whole, rest = divmod(count, size)
        return whole * self._batch + sum(growth[(first + i) % size] for i in range(rest))

    def _room_to_decode(self, now: float) -> int:
        """Make room for one decode step; return the blocks it takes, or -1 if others had to go."""
        if not self._batch:
            return 0
        place = len(self.log.times) % self._capacity.block_size
        growth, cache = self._growth, self._cache
        if growth[place] <= cache.total - cache.used:
            return growth[place]
        while growth[place] > cache.free:
            self._preempt(
                next(r for r in reversed(self._running.values()) if r.since >= 0 or r.left), now
            )
        return -1

    def _preempt(self, request: EngineRequest, now: float) -> None:
        """Take its cache away; it is computed again, with the tokens that it had generated."""
        self.preemptions += 1
        if request.since >= 0:
            self._stops(request, len(self.log.times))
        else:
            self._prefilling.remove(request)
        self._free(request)
        request.context = request.left = request.prompt + request.generated
        self._waiting.appendleft((now, request))

    def _prefill(self, now: float, growth: int) -> tuple[int, float, list[EngineRequest]]:
        """Fill a step's budget with prompts.

        Returns:
            New tokens, the pairs that attention computes, and the requests whose prompts are done.
        """
        budget = self._capacity.max_num_batched_tokens - self._batch
        spare = self._cache.free - max(0, growth)
        admits = growth >= 0
        new, pairs = 0, 0.0
        done: list[EngineRequest] = []
        prefilling = self._prefilling
        queue = list(prefilling)
        while budget > 0:
            if queue:
                request = queue.pop(0)
            elif admits and (found := self._admit(now, spare)) is not None:
                request, taken = found
                spare -= taken
            else:
                break
            chunk = min(request.left, budget)
            pairs += chunk * (request.context - request.left + 0.5 * chunk)
            request.left -= chunk
            budget -= chunk
            new += chunk
            if not request.left:
                prefilling.remove(request)
                done.append(request)
        return new, pairs, done

    def _admit(self, now: float, spare: int) -> tuple[EngineRequest, int] | None:
        """Let the first that waits run, if there is room; return it and the blocks it takes."""
        waiting = self._waiting
        if not waiting or waiting[0][0] > now or len(self._running) >= self._capacity.max_num_seqs:
            return None
        request = waiting[0][1]
        cache, hashes = self._cache, request.hashes
        blocks = -(-request.context // self._capacity.block_size)
        room = blocks
        if hashes:
            hit = cache.cached(hashes)
            blocks -= hit * self._hash_blocks
            room = blocks + cache.idle(hashes[:hit])
            if room > spare:
                return None
            cache.hold(hashes[:hit])
            cache.take(blocks)
            kept = cache.keep(hashes[hit:])
            request.held = hit + kept
            request.blocks = blocks - kept * self._hash_blocks
            request.left = request.context - hit * self._hash_tokens
        else:
            if room > spare:
                return None
            cache.take(blocks)
            request.blocks = blocks
        waiting.popleft()
        self._running[request.id] = request
        self._prefilling.append(request)
        return request, room


def _last_step(request: EngineRequest) -> int:
    """Return the step of its last token, while it decodes."""
    return request.since + request.output - request.generated - 1

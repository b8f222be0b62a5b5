"""An LLM engine that batches continuously, as a discrete-event model by steps."""

from __future__ import annotations

from collections import deque

from sage.benchmark.simulate.decode_batch import DecodeBatch
from sage.benchmark.simulate.engine_request import Emission, EngineLoad, EngineRequest
from sage.benchmark.simulate.kv_space import KvSpace
from sage.benchmark.simulate.prefill_work import PrefillWork
from sage.benchmark.simulate.profile import LlmProfile
from sage.benchmark.simulate.step_plan import StepPlan
from sage.benchmark.simulate.step_times import StepClock
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
        "_cache",
        "_cancels",
        "_capacity",
        "_clock",
        "_decoding",
        "_door",
        "_each",
        "_end",
        "_in",
        "_lag",
        "_leaving",
        "_out",
        "_plan",
        "_prefilling",
        "_running",
        "_space",
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
        self._capacity = capacity
        self._clock = StepClock(times, capacity.max_num_seqs)
        self._in = lag + times.h_in / 1000
        self._out = times.h_out / 1000
        self._each = times.h_each / 1000
        self._door = 0.0
        self._lag = lag
        self._space = KvSpace(
            capacity,
            hash_tokens,
            caching=profile.prefix_caching,
            head=profile.head_tokens,
            clears_idle=profile.clears_idle,
        )
        self._cache = self._space.cache
        self._waiting: deque[tuple[float, EngineRequest]] = deque()
        self._cancels: deque[tuple[float, EngineRequest]] = deque()
        self._leaving: deque[tuple[float, EngineRequest]] = deque()
        self._running: dict[int, EngineRequest] = {}
        self._prefilling: deque[EngineRequest] = deque()
        self._decoding = DecodeBatch(capacity.block_size)
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
            self._space.limit_hashes(request)
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
        work: PrefillWork | None = None
        waiting = self._waiting
        if self._prefilling or (waiting and waiting[0][0] <= now and growth >= 0):
            work = self._prefill(now, growth)
        begin = max(now, self._end)
        if work is not None and work.new:
            self._plan_step(begin, work)
            if self._async and work.new + self._decoding.size > self._clock.graph_tokens:
                self._launch(now)
        elif self._decoding.size:
            self._plan_run(begin, now)
        else:
            self._rest()
        if left is None:
            return None
        return Emission(self.log.times[-1] + self._lag, *left)

    # What is planned

    def _plan_step(self, begin: float, work: PrefillWork) -> None:
        """One step with prefill."""
        decoding = self._decoding
        seconds = self._clock.prefill(
            work.new, work.pairs, work.begun, decoding.size, decoding.context
        )
        self._plan = StepPlan(begin, 1, seconds, 0.0, work.done)
        self.wake = begin if self._async else begin + seconds

    def _plan_run(self, begin: float, now: float) -> None:
        """Steps that only decode, up to the next end, a want of blocks, or an arrival."""
        decoding, clock = self._decoding, self._clock
        batch = decoding.size
        step = len(self.log.times)
        count = decoding.next_end() - step + 1
        need = (count // self._capacity.block_size + 1) * batch
        # What leaves is freed one step from now; what is cached must not give way before that.
        if need > (self._cache.unused if self._leaving else self._cache.free):
            count = 1
        plan = StepPlan(
            begin, count, clock.decode(batch, decoding.context), clock.context_s * batch
        )
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
        launched = now + self._clock.launch_s
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
        decoding = self._decoding
        if decoding.size:
            decoding.context += plan.count * decoding.size
            self._cache.take(decoding.new_blocks(first, plan.count))
        firsts = []
        for request in plan.done:
            decoding.join(request, last)
            if not request.generated:
                firsts.append(request)
        ended = []
        while (over := decoding.next_ended(last)) is not None:
            self._stops(over, last + 1)
            over.over = True
            self._leaving.append((self._end, over))
            ended.append(over)
        return (firsts, ended) if firsts or ended else None

    def _stops(self, request: EngineRequest, step: int) -> None:
        """It decodes in no step from `step` on."""
        self._space.grown(request, self._decoding.stop(request, step))

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
        self._space.release(request)

    # Room

    def _room_to_decode(self, now: float) -> int:
        """Make room for one decode step; return the blocks it takes, or -1 if others had to go."""
        if not self._decoding.size:
            return 0
        step, cache = len(self.log.times), self._cache
        growth = self._decoding.new_blocks(step, 1)
        if growth <= cache.total - cache.used:
            return growth
        while self._decoding.new_blocks(step, 1) > cache.free:
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

    def _prefill(self, now: float, growth: int) -> PrefillWork:
        """Fill a step's budget with prompts."""
        budget = self._capacity.max_num_batched_tokens - self._decoding.size
        spare = self._cache.free - max(0, growth)
        admits = growth >= 0
        work = PrefillWork()
        prefilling = self._prefilling
        queue = list(prefilling)
        while budget > 0:
            if queue:
                request = queue.pop(0)
            elif admits and (found := self._admit(now, spare)) is not None:
                request, taken = found
                spare -= taken
                work.begun += 1
            else:
                break
            budget -= work.compute(request, budget)
            if request.hashes:
                self._space.computed(request)
            if not request.left:
                prefilling.remove(request)
        return work

    def _admit(self, now: float, spare: int) -> tuple[EngineRequest, int] | None:
        """Let the first that waits run, if there is room; return it and the blocks it takes."""
        waiting = self._waiting
        if not waiting or waiting[0][0] > now or len(self._running) >= self._capacity.max_num_seqs:
            return None
        request = waiting[0][1]
        room = self._space.claim(request, spare)
        if room is None:
            return None
        waiting.popleft()
        self._running[request.id] = request
        self._prefilling.append(request)
        return request, room

"""What the scheduler knows of an engine."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

from sage.errors import ConfigError
from sage.inference.scheduling.latency import LatencyModel
from sage.inference.scheduling.prefixes import PrefixIndex
from sage.inference.scheduling.request import Kind, Request
from sage.inference.scheduling.stalls import Stalls

_FRESH = 5.0
_BULK_AHEAD = 0.1
_LEAST_PER_TOKEN = 1e-9
_ANY = 1 << 62
_FULL = 0.95
_MOSTLY_CACHED = 2
_KNOWN_FOR = 60.0
_LIMITS = (
    "max_requests",
    "max_tokens",
    "chunk_tokens",
    "max_inputs",
    "max_batch_tokens",
    "max_calls",
    "max_request_tokens",
    "cache_tokens",
)


@dataclass(frozen=True, slots=True)
class InstanceSpec:
    """One engine that can be given work.

    Attributes:
        id: unique among the instances.
        kind: what it serves.
        models: the model names it answers to; at least one.
        max_requests: how many requests it may hold at once; the rest wait in the scheduler.
        max_tokens: how many tokens, prompts and outputs together, it may hold at once; None for
            no limit. A request above it alone is served alone. Where there is a limit a request
            counts with the most tokens it may generate, if that is known, since an engine that
            runs out of room may fail all it holds; else with those it is expected to.
        chunk_tokens: prompt tokens one of its steps carries (vLLM's max_num_batched_tokens); a
            policy that paces keeps about half of that waiting there.
        cost: what it costs to use, in any unit that is the same for all.
        coalesce: whether embedding requests that wait for it share calls, and large ones are cut.
        max_inputs: inputs of one embedding call.
        max_batch_tokens: estimated tokens of one embedding call.
        max_calls: embedding calls of requests that could share one, on the wire at once.
        cache_tokens: tokens its KV cache holds, of which the beginnings of prompts are remembered;
            None for as many as 32,768 blocks of prompts have.
        max_request_tokens: its longest request, prompt and output together; a request counts
            with no more than that, however much it says it may generate.

    Raises:
        ConfigError: an empty id, no model, one named twice, a limit below one, a negative cost.
    """

    id: str
    kind: Kind
    models: tuple[str, ...]
    max_requests: int = 256
    max_tokens: int | None = None
    chunk_tokens: int = 8192
    cost: float = 1.0
    coalesce: bool = True
    max_inputs: int = 2048
    max_batch_tokens: int = 8192
    max_calls: int = 16
    max_request_tokens: int | None = None
    cache_tokens: int | None = None

    def __post_init__(self) -> None:
        if not self.id:
            raise ConfigError("an instance needs an id; it is empty")
        if not self.models or not all(self.models):
            raise ConfigError(f"instance {self.id!r} needs model names; it has {self.models!r}")
        if len(set(self.models)) < len(self.models):
            raise ConfigError(f"instance {self.id!r} names a model twice: {self.models!r}")
        for name in _LIMITS:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"instance {self.id!r}: {name} is {value}; it must be at least 1")
        if not self.cost >= 0.0:
            raise ConfigError(f"instance {self.id!r}: cost is {self.cost}; it must be at least 0")


@dataclass(frozen=True, slots=True)
class Telemetry:
    """What an engine last said of itself.

    Attributes:
        at: when, in seconds of the caller's clock.
        foreign: requests it held then that this scheduler had not given it.
        waiting: requests in its own queue.
        kv_used: share of its KV cache in use, 0 to 1.
    """

    at: float
    foreign: int
    waiting: int
    kv_used: float


class Prefilling(Protocol):
    """A request whose prompt an instance has yet to prefill (``Entry``).

    Attributes:
        prefill: its tokens among those the instance has to prefill; 0 once prefilled.
    """

    prefill: int


class Placeable(Protocol):
    """A request that an instance may be given (``Entry``).

    Attributes:
        request: what was accepted.
        prompt: its prompt's tokens, as corrected.
        output: tokens it is expected to generate.
        tpot: seconds a token that it asks for; None for any.
    """

    request: Request
    prompt: int
    output: int
    tpot: float | None


@dataclass(slots=True, eq=False)
class InstanceState:
    """An instance and the work it holds.

    Counts are of attempts, and obey: dispatched = done + failed + cancelled + len(running).

    Attributes:
        spec: what it is.
        up: whether it may be given work.
        reason: why it is down; empty while it is up.
        running: ids of the requests it holds.
        last_dispatch: number of the scheduler's dispatch that last went here; 0 for never.
        tokens: prompt and output tokens of what it holds, as ``holds`` counts them.
        prefill: prompt tokens given to it that are not prefilled yet, as far as is known.
        ahead: prompt tokens that wait there before a request that is given to it, of late.
        prefilling: requests whose prompts are counted in ``prefill``, with the time by which
            each is taken for prefilled when no first token is seen; oldest first.
        latency: what is learned of its speed.
        prefixes: what it has likely cached.
        stalls: how much prefill its streams can bear.
        telemetry: what it last said of itself; None when it never has.
    """

    spec: InstanceSpec
    up: bool = True
    reason: str = ""
    running: set[int] = field(default_factory=set)
    dispatched: int = 0
    done: int = 0
    failed: int = 0
    cancelled: int = 0
    last_dispatch: int = 0
    tokens: int = 0
    prefill: int = 0
    ahead: float = 0.0
    prefilling: deque[tuple[float, Prefilling]] = field(default_factory=deque)
    latency: LatencyModel = field(default_factory=LatencyModel)
    prefixes: PrefixIndex = field(default_factory=PrefixIndex)
    stalls: Stalls = field(default_factory=Stalls)
    telemetry: Telemetry | None = None

    @property
    def open(self) -> bool:
        """Whether it is up and holds fewer requests than it may."""
        return self.up and len(self.running) < self.spec.max_requests

    def batch(self, now: float) -> int:
        """Return how many requests it runs, those of others too where it has told of them."""
        seen = self.telemetry
        if seen is None or now - seen.at > _FRESH:
            return len(self.running)
        return len(self.running) + seen.foreign

    def fits(self, tokens: int) -> bool:
        """Whether its token limit has room for that many more; an idle one takes any request."""
        limit = self.spec.max_tokens
        return limit is None or not self.running or self.tokens + tokens <= limit

    def prefill_room(self, now: float, chunks: float = 0.5) -> int:
        """Return how many prompt tokens a policy that paces may still send here.

        That is what is left of so many chunks of waiting prefill. Without any waiting there is
        room for a prompt of any length, and there always is for embeddings: no tokens are decoded
        that prefill could delay, and a text must not wait here for bulk to end. An engine that
        queues by itself for want of KV cache is left alone for as long as it holds anything of
        ours.
        """
        seen = self.telemetry
        if (
            seen is not None
            and self.running
            and seen.waiting
            and seen.kv_used >= _FULL
            and now - seen.at <= _FRESH
        ):
            return 0
        if self.prefilling:
            self.settle(now)
        if not self.prefill or self.spec.kind is Kind.EMBEDDING:
            return _ANY
        return int(chunks * self.spec.chunk_tokens) - self.prefill

    @property
    def wants_bulk(self) -> bool:
        """Whether it holds so little work that bulk embeddings are worth sending.

        A tenth of a second of it keeps an engine busy until more comes, and texts that someone
        waits for have no more than that and one request ahead of them. An engine of unknown speed
        gets what one call carries.
        """
        most = float(self.spec.max_batch_tokens)
        if self.latency.ready:
            most = _BULK_AHEAD / max(self.latency.prefill_per_token, _LEAST_PER_TOKEN)
        return self.tokens < most

    def bears(self, entry: Placeable, now: float) -> bool:
        """Whether its streams keep their TPOT when it is given the request, as far as is known."""
        stalls = self.stalls
        if not (self.running and stalls.steps.ready):
            return True
        tightest = stalls.tightest()
        if entry.tpot is not None and entry.tpot < tightest:
            tightest = entry.tpot
        if stalls.steps.step(self.tokens + entry.prompt + entry.output) > tightest:
            return False
        new = self.uncached(entry.request, entry.prompt)
        # Turned away where most of it is cached, it would have others prefill all of it.
        if _MOSTLY_CACHED * new < entry.prompt:
            return True
        added = stalls.steps.prefill(new, entry.prompt - new)
        return added <= stalls.spare(self.running, self.tokens, now)

    def settle(self, now: float) -> None:
        """Take prompts for prefilled whose time is over, and drop those known to be."""
        queue = self.prefilling
        while queue and (queue[0][0] <= now or not queue[0][1].prefill):
            entry = queue.popleft()[1]
            self.prefill -= entry.prefill
            entry.prefill = 0

    def uncached(self, request: Request, tokens: int) -> int:
        """Return how many of a request's prompt tokens it likely has to prefill, at least 1."""
        prefix = request.prefix
        if prefix and (hit := self.prefixes.matched(prefix)):
            blocks = len(prefix)
            if covered := request.prefix_tokens:
                # What the blocks leave out is in no other prompt.
                return max(1, tokens - tokens * covered * hit // (request.prompt_tokens * blocks))
            tokens -= tokens * hit // blocks
        return tokens if tokens > 0 else 1

    def speed_known(self, now: float) -> bool:
        """Whether its latency model is both ready and recent enough to be compared by."""
        return self.latency.ready and now - self.latency.updated <= _KNOWN_FOR

"""The least engine time that a request can cost, and the windows in which it must be spent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sage.benchmark.classes import TrafficClass
from sage.benchmark.simulate.config import SimulationConfig
from sage.benchmark.simulate.profile import EmbeddingProfile, LlmProfile
from sage.benchmark.workload import PlannedRequest

_NEVER = float("inf")
# Of rounding: what is possible is never called impossible for its sake.
_SLACK = 1e-9
_CHARGED = -1

Shares = tuple[float, ...]
"""Seconds under each way to divide a step's fixed time among those in it."""


@dataclass(frozen=True, slots=True)
class Part:
    """Work that must be done in a window for a request to be in time.

    Attributes:
        release: when it can begin, in seconds of the run.
        due: when it must be done; infinite for no limit.
        seconds: of one engine, under each way to share a step's fixed time.
    """

    release: float
    due: float
    seconds: Shares


@dataclass(frozen=True, slots=True)
class Work:
    """A request as the bound sees it.

    Attributes:
        request: which.
        parts: what it costs; for chat the prompt, and the whole answer.
        possible: whether it could be in time on an engine of its own.
    """

    request: PlannedRequest
    parts: tuple[Part, ...]
    possible: bool

    @property
    def seconds(self) -> float:
        """Its engine time, by the dearest way to share; to compare requests by."""
        return max(map(sum, zip(*(part.seconds for part in self.parts), strict=True)))


def chat_work(
    requests: Sequence[PlannedRequest], profile: LlmProfile, simulation: SimulationConfig
) -> list[Work]:
    """Return the work of chat requests, in their order."""
    blocks = _Blocks(requests, profile, simulation)
    ways = _Chat(profile, simulation)
    return [ways.work(request, blocks.of(request)) for request in requests]


def embedding_work(
    requests: Sequence[PlannedRequest], profile: EmbeddingProfile, simulation: SimulationConfig
) -> list[Work]:
    """Return the work of embedding requests, in their order.

    A batch's fixed time is shared by its texts, or by its padded tokens; padding costs nothing.
    """
    call, token = profile.call_ms / 1000, profile.token_ms / 1000
    before = 2 * simulation.lag + profile.h_in / 1000
    after = 2 * simulation.lag + profile.h_out / 1000
    found = []
    for request in requests:
        length, texts = request.prompt_tokens, request.batch
        computed = token * length * texts
        limit = None if request.slo is None else request.slo.deadline_s
        release = request.at + before
        due = _NEVER if limit is None else request.at + limit - after
        seconds = (
            computed + call * texts / profile.max_texts,
            computed + call * texts * min(1.0, length / profile.max_tokens),
        )
        alone = max(call + token * length, max(seconds) / profile.workers)
        part = Part(release, due, seconds)
        found.append(Work(request, (part,), release + alone <= due + _SLACK))
    return found


class _Prompt(NamedTuple):
    """What a prompt costs.

    Attributes:
        tail: tokens after its last whole block, which are always computed.
        new: tokens charged to it, the tail among them.
        pairs: that attention computes for these.
        own: tokens in blocks that no other prompt has.
        shared: tokens it may find in a cache, if all others' prompts are there.
    """

    tail: int
    new: int
    pairs: float
    own: int
    shared: int


class _Blocks:
    """What of each prompt nobody else computes.

    A block of a prompt that several have is charged to the one that arrives first, at the
    earliest place that it has in any of them: whoever computes it does so after that arrival.
    """

    def __init__(
        self, requests: Sequence[PlannedRequest], profile: LlmProfile, simulation: SimulationConfig
    ) -> None:
        self._size = simulation.hash_tokens
        self._caching = profile.prefix_caching
        self._uses: Counter[int] = Counter()
        self._first: dict[int, int] = {}
        self._place: dict[int, int] = {}
        for request in sorted(requests, key=lambda r: r.at):
            for place, block in enumerate(self._whole(request)):
                self._uses[block] += 1
                self._first.setdefault(block, request.index)
                self._place[block] = min(place, self._place.get(block, place))

    def _whole(self, request: PlannedRequest) -> tuple[int, ...]:
        """Return the blocks that can be taken from a cache."""
        if not self._caching:
            return ()
        return request.blocks[: (request.prompt_tokens - 1) // self._size]

    def of(self, request: PlannedRequest) -> _Prompt:
        """Return what a request's prompt costs; ask once for each."""
        size, blocks = self._size, self._whole(request)
        tail = new = request.prompt_tokens - size * len(blocks)
        pairs = new * (size * len(blocks) + 0.5 * new)
        own_tokens = new
        shared = 0
        leading = True
        for block in blocks:
            own = self._uses[block] == 1
            own_tokens += size * own
            leading = leading and not own
            shared += size * leading
            if self._first[block] == request.index:
                self._first[block] = _CHARGED
                new += size
                pairs += size * (size * self._place[block] + 0.5 * size)
        return _Prompt(tail, new, pairs, own_tokens, shared)


class _Chat:
    """Costs of chat requests on one kind of engine.

    A step takes at least its fixed time and each member's own. The fixed time is shared by the
    slots, by the blocks of KV cache, or by the tokens that a step has.
    """

    def __init__(self, profile: LlmProfile, simulation: SimulationConfig) -> None:
        times, capacity = profile.times, profile.capacity
        self._b1, self._b2 = times.b1 / 1000, times.b2 / 1000
        self._c1, self._c2 = times.c1 / 1000, times.c2 / 1000
        self._p0, self._low = times.p0 / 1000, (times.b0 + 2.0) / 1000
        self._fixed = min(times.b0, times.p0) / 1000
        # The tokens of a step can leave late by the launch of the next one.
        self._launch = times.floor / 1000 if profile.asynchronous else 0.0
        self._before = 2 * simulation.lag + times.h_in / 1000
        self._after = 2 * simulation.lag + times.h_out / 1000
        self._slots = min(capacity.max_num_seqs, simulation.max_requests)
        self._room = capacity.num_gpu_blocks * capacity.block_size
        self._budget = capacity.max_num_batched_tokens
        self._longest = min(capacity.max_model_len, self._room)

    def work(self, request: PlannedRequest, own: _Prompt) -> Work:
        """Return one request's work."""
        prompt, more = request.prompt_tokens, request.output_tokens - 1
        first_by, last_by, span = _limits(request)
        release = request.at + self._before
        fixed = self._fixed
        prefill = self._c1 * own.new + self._c2 * own.pairs
        decode = self._decode(prompt, more, own.tail)
        held = own.own * more + 0.5 * more * (more + 1)
        parts = (
            Part(
                release,
                first_by - self._after,
                (
                    prefill + fixed / self._slots,
                    prefill + fixed * own.own / self._room,
                    prefill + fixed * own.new / self._budget,
                ),
            ),
            Part(
                release,
                last_by - self._after,
                (
                    decode + fixed * more / self._slots,
                    decode + fixed * held / self._room,
                    decode + fixed * more / self._budget,
                ),
            ),
        )
        first = release + self._prefill_alone(prompt, own.shared)
        answer = decode + fixed * more
        possible = (
            prompt + request.output_tokens <= self._longest
            and first <= parts[0].due + _SLACK
            and first + answer <= parts[1].due + _SLACK
            and answer - self._launch <= span + _SLACK
        )
        return Work(request, parts, possible)

    def _prefill_alone(self, prompt: int, shared: int) -> float:
        """Seconds to the end of the prompt's last step on an idle engine."""
        new = prompt - shared
        steps = -(-new // self._budget)
        pairs = 0.5 * (prompt * prompt - shared * shared)
        return max(steps * self._low, steps * self._p0 + self._c1 * new + self._c2 * pairs)

    def _decode(self, prompt: int, more: int, tail: int) -> float:
        """Seconds that all tokens after the first add to the steps they are in.

        A request that lost its cache gets its next token by prefill of all it had, of which whole
        blocks of the prompt may still be cached: with few tokens generated that can be less.
        """
        token = self._c1 + self._c2 * (prompt - tail)
        total = self._b1 * more + self._b2 * (more * prompt + 0.5 * more * (more + 1))
        for i in range(1, more + 1):
            saved = self._b1 + self._b2 * (prompt + i) - token * (tail + i)
            if saved > 0.0:
                total -= saved
            elif token >= self._b2:
                break
        return total


def _limits(request: PlannedRequest) -> tuple[float, float, float]:
    """Return when first token and end are due at the client, and how far apart."""
    slo = request.slo
    if slo is None:
        return _NEVER, _NEVER, _NEVER
    first = _NEVER if slo.ttft_s is None else request.at + slo.ttft_s
    last = _NEVER if slo.deadline_s is None else request.at + slo.deadline_s
    if not request.stream:
        # The answer comes whole, and that moment is its first token's.
        last = min(first, last)
        return last, last, _NEVER
    more = request.output_tokens - 1
    if not more:
        last = min(first, last)
        return last, last, _NEVER
    span = _NEVER if slo.tpot_s is None else slo.tpot_s * more
    last = min(last, first + span)
    return min(first, last), last, span


def split(
    requests: Sequence[PlannedRequest],
) -> tuple[list[PlannedRequest], list[PlannedRequest]]:
    """Return chat requests and the others."""
    chat = [r for r in requests if r.traffic is TrafficClass.CHAT]
    return chat, [r for r in requests if r.traffic is not TrafficClass.CHAT]

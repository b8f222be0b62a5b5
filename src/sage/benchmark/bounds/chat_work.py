"""The least engine time of chat requests."""

from __future__ import annotations

from collections.abc import Sequence

from sage.benchmark.bounds.prompts import Prompts
from sage.benchmark.bounds.step_floor import shortest, step_floor
from sage.benchmark.bounds.work import NEVER, SLACK, Part, Work
from sage.benchmark.simulate.config import SimulationConfig
from sage.benchmark.simulate.profile import LlmProfile
from sage.benchmark.workload import PlannedRequest


def chat_work(
    requests: Sequence[PlannedRequest], profile: LlmProfile, simulation: SimulationConfig
) -> list[Work]:
    """Return the work of chat requests, in their order."""
    prompts = Prompts(requests, profile, simulation)
    ways = _Chat(profile, simulation)
    return [ways.work(request, prompts) for request in requests]


class _Chat:
    """Costs of chat requests on one kind of engine.

    A step takes at least its fixed time and what each member adds. The fixed time is shared by
    the slots, by the KV cache, or by the tokens that a step has.
    """

    def __init__(self, profile: LlmProfile, simulation: SimulationConfig) -> None:
        times, capacity = profile.times, profile.capacity
        self._context_s, self._begin_s = times.b2 / 1000, times.r0 / 1000
        self._token_s, self._pair_s = times.c1 / 1000, times.c2 / 1000
        self._prefill_s = times.p0 / 1000
        self._least = (times.b0 + 2.0 if times.least is None else times.least) / 1000
        # The tokens of a step can leave late by the launch of the next one.
        self._launch = times.floor / 1000 if profile.asynchronous else 0.0
        self._before = 2 * simulation.lag + times.h_in / 1000
        self._after = 2 * simulation.lag + times.h_out / 1000
        self._slots = min(capacity.max_num_seqs, simulation.max_requests)
        self._room = capacity.num_gpu_blocks * capacity.block_size
        self._budget = capacity.max_num_batched_tokens
        self._longest = min(capacity.max_model_len, self._room)
        most = capacity.max_num_seqs
        self._shortest = shortest(times, most)
        # Slots are shared by full batches; memory and budget can bound smaller ones.
        self._full = step_floor(times, most, self._slots)
        self._small = step_floor(times, most, self._slots / 4)

    def work(self, request: PlannedRequest, prompts: Prompts) -> Work:
        """Return one request's work."""
        prompt, more = request.prompt_tokens, request.output_tokens - 1
        first_by, last_by, span = _limits(request)
        own = prompts.of(request, first_by)
        release = request.at + self._before
        full, small = self._full, self._small
        prefill = self._begin_s + self._token_s * own.new + self._pair_s * own.pairs
        held = own.own * more + 0.5 * more * (more + 1)
        least = self._decode(prompt, more, own.tail, small.each)
        parts = (
            Part(
                release,
                first_by - self._after,
                (
                    prefill + full.fixed / self._slots,
                    prefill + small.fixed * own.own / self._room,
                    prefill + small.fixed * own.new / self._budget,
                ),
            ),
            Part(
                release,
                last_by - self._after,
                (
                    self._decode(prompt, more, own.tail, full.each)
                    + full.fixed * more / self._slots,
                    least + small.fixed * held / self._room,
                    least + small.fixed * more / self._budget,
                ),
            ),
        )
        first = release + self._prefill_alone(prompt, own.shared)
        answer = self._shortest * more + self._decode(prompt, more, own.tail, 0.0)
        possible = (
            prompt + request.output_tokens <= self._longest
            and first <= parts[0].due + SLACK
            and first + answer <= parts[1].due + SLACK
            and answer - self._launch <= span + SLACK
        )
        return Work(request, parts, possible)

    def _prefill_alone(self, prompt: int, shared: int) -> float:
        """Seconds to the end of the prompt's last step on an idle engine."""
        new = prompt - shared
        steps = -(-new // self._budget)
        pairs = 0.5 * (prompt * prompt - shared * shared)
        computed = self._begin_s + self._token_s * new + self._pair_s * pairs
        return max(steps * self._least, steps * self._prefill_s + computed)

    def _decode(self, prompt: int, more: int, tail: int, each: float) -> float:
        """Seconds that all tokens after the first add to the steps they are in.

        A request that lost its cache gets its next token by prefill of all it had, of which whole
        blocks of the prompt may still be cached: with few tokens generated that can be less.

        Args:
            prompt: its tokens.
            more: tokens after the first.
            tail: tokens of the prompt that are never cached.
            each: seconds that a request adds to a step, whatever its context.
        """
        token = self._token_s + self._pair_s * (prompt - tail)
        context = self._context_s
        total = each * more + context * (more * prompt + 0.5 * more * (more + 1))
        for i in range(1, more + 1):
            saved = each + context * (prompt + i) - token * (tail + i) - self._begin_s
            if saved > 0.0:
                total -= saved
            elif token >= context:
                break
        return total


def _limits(request: PlannedRequest) -> tuple[float, float, float]:
    """Return when first token and end are due at the client, and how far apart."""
    slo = request.slo
    if slo is None:
        return NEVER, NEVER, NEVER
    first = NEVER if slo.ttft_s is None else request.at + slo.ttft_s
    last = NEVER if slo.deadline_s is None else request.at + slo.deadline_s
    if not request.stream:
        # The answer comes whole, and that moment is its first token's.
        last = min(first, last)
        return last, last, NEVER
    more = request.output_tokens - 1
    if not more:
        last = min(first, last)
        return last, last, NEVER
    span = NEVER if slo.tpot_s is None else slo.tpot_s * more
    last = min(last, first + span)
    return min(first, last), last, span

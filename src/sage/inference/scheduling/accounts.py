"""What a request costs its instance and its tenant, from dispatch to its end."""

from __future__ import annotations

from collections import deque

from sage.inference.scheduling.entry import Entry
from sage.inference.scheduling.estimators import TokenEstimator
from sage.inference.scheduling.forecast import Forecast
from sage.inference.scheduling.instance import InstanceState
from sage.inference.scheduling.request import Kind
from sage.inference.scheduling.tenants import TokenCounters

_UNKNOWN_PREFILL = 1.0
_PATIENCE = 1.5
_LATELY = 0.05
# An instance may come to hold so much more during a stream than at its first token.
_GROWTH = 1.2
_TPOT_MARGIN = 0.98


class Accounts:
    """Charges at dispatch, corrects by what engines report, and learns from what is over.

    Args:
        estimator: of tokens.
        counters: of tenants.
        forecast: knows each request's SLO.
    """

    def __init__(
        self, estimator: TokenEstimator, counters: TokenCounters, forecast: Forecast
    ) -> None:
        self._estimator = estimator
        self._counters = counters
        self._forecast = forecast

    def arrives(self, entry: Entry) -> None:
        """Estimate a request's tokens."""
        request = entry.request
        entry.prompt = self._estimator.prompt(request.model, request.prompt_tokens)
        if request.kind is Kind.LLM:
            entry.output = self._estimator.output(
                request.model, request.tenant, entry.prompt, request.expected_tokens
            )
            slo = self._forecast.slo(request)
            if slo is not None and request.streamed:
                entry.tpot = slo.tpot_s

    def charge(
        self, entry: Entry, state: InstanceState, now: float, *, fair: bool, waited: bool
    ) -> None:
        """Note at its instance, and its tenant where they take turns, what a request takes."""
        request = entry.request
        if state.prefilling:
            state.settle(now)
        new = state.uncached(request, entry.prompt)
        if request.prefix:
            state.prefixes.add(request.prefix, _most_blocks(entry, state))
        state.ahead += _LATELY * (state.prefill - state.ahead)
        entry.prefill = new
        state.prefill += new
        entry.backlog = state.prefill
        entry.batch = len(state.running)
        entry.dispatched = now
        entry.held = entry.tokens_at(state)
        stalls, latency = state.stalls, state.latency
        stalls.held(state.tokens, now)
        stalls.enters(entry.tpot)
        state.tokens += entry.held
        if request.streamed:
            entry.new = new
            entry.work = stalls.steps.prefill(new, entry.prompt - new)
            stalls.given += entry.work
        spell = (
            _PATIENCE * latency.margin * latency.ttft(entry.backlog)
            if latency.ready
            else _UNKNOWN_PREFILL
        )
        state.prefilling.append((now + spell, entry))
        if fair:
            self._counters.serves(request.tenant, entry.prompt + entry.output, chosen=waited)

    def first_token(self, entry: Entry, state: InstanceState, now: float) -> None:
        """A request's prompt has been prefilled."""
        entry.first_token = now
        state.prefill -= entry.prefill
        entry.prefill = 0
        state.latency.first_token(entry.backlog, now - entry.dispatched, now)
        stalls = state.stalls
        stalls.done += entry.work
        new = entry.new
        stalls.new += new
        stalls.pairs += new * (entry.prompt - 0.5 * new)
        entry.before = stalls.new, stalls.pairs
        entry.area = stalls.held(state.tokens, now)
        if entry.tpot is not None and entry.output > 1:
            tpot = _TPOT_MARGIN * entry.tpot
            stalls.bears(entry.request.id, entry.output - 1, tpot, _GROWTH * state.tokens, now)

    def release(self, entry: Entry, state: InstanceState, now: float) -> None:
        """A request has left its instance."""
        stalls = state.stalls
        stalls.held(state.tokens, now)
        stalls.leaves(entry.tpot)
        if entry.first_token is None:
            stalls.given -= entry.work
        state.tokens -= entry.held
        state.prefill -= entry.prefill
        entry.prefill = 0

    def undo(self, entry: Entry, state: InstanceState, *, fair: bool) -> None:
        """A request that was released had not reached its instance, and will be charged again."""
        state.prefilling = deque(item for item in state.prefilling if item[1] is not entry)
        entry.first_token = None
        entry.tokens = 0
        if fair:
            self._counters.corrects(entry.request.tenant, -entry.prompt - entry.output)

    def learn(self, entry: Entry, state: InstanceState, now: float) -> None:
        """Learn from a request that was served, while it still counts among those running."""
        batch = 0.5 * (entry.batch + len(state.running))
        tokens = entry.tokens
        if entry.first_token is not None:
            seconds = now - entry.first_token
            state.latency.decoded(tokens - 1, batch, seconds, now)
            if tokens > 1 and seconds > 0.0:
                stalls = state.stalls
                area = stalls.held(state.tokens, now) - entry.area
                new, pairs = stalls.new - entry.before[0], stalls.pairs - entry.before[1]
                held = area / seconds
                stalls.steps.learn(tokens - 1, held, new, pairs, seconds=seconds, now=now)
        elif entry.request.kind is Kind.EMBEDDING or tokens:
            further = max(0, tokens - 1)
            state.latency.whole(entry.backlog, further, batch, now - entry.dispatched, now)

    def usage(self, entry: Entry, prompt: int, completion: int, *, fair: bool) -> None:
        """An engine has counted a request's tokens."""
        request = entry.request
        if completion:
            entry.tokens = completion
        self._estimator.learn(
            request.model, request.tenant, request.prompt_tokens, prompt, completion
        )
        if fair:
            extra = prompt + completion - entry.prompt - entry.output
            self._counters.corrects(request.tenant, extra)


def _most_blocks(entry: Entry, state: InstanceState) -> int | None:
    """Return how many blocks of a prompt's size an instance's cache keeps; None when not known."""
    tokens = state.spec.cache_tokens
    return None if tokens is None else tokens * len(entry.request.prefix) // max(1, entry.prompt)

"""Requests sent to a live engine, and their figures beside a model's."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from sage.benchmark.calibrate.played import Played
from sage.benchmark.calibrate.step_samples import steps_of
from sage.benchmark.exchange import Exchange
from sage.benchmark.load import Load, LoadResult
from sage.benchmark.prompts import built_in_text
from sage.benchmark.simulate.profile import LlmProfile
from sage.benchmark.simulate.step_times import StepClock
from sage.benchmark.target import Found
from sage.benchmark.wire import RequestWriter
from sage.benchmark.workload import PlannedRequest
from sage.inference.gateway.target import parse_target


class LiveRun(NamedTuple):
    """What was sent to a live engine, and what came back."""

    requests: Sequence[PlannedRequest]
    result: LoadResult


def figures(exchanges: Sequence[Exchange]) -> dict[str, float]:
    """Return what is compared; throughput from the first that was due to the last end."""
    failed = [exchange for exchange in exchanges if exchange.failure is not None]
    if failed:
        one = failed[0]
        print(
            f"  {len(failed)} of {len(exchanges)} requests failed, the first with: {one.detail}, "
            f"{one.ended - one.sent:.2f} s and {len(one.token_times)} tokens after it was sent"
        )
    if len(failed) == len(exchanges):
        raise SystemExit("no request was answered; see above")
    exchanges = [exchange for exchange in exchanges if exchange.failure is None]
    began = min(exchange.intended for exchange in exchanges)
    seconds = max(exchange.ended for exchange in exchanges) - began
    gaps = [
        (e.token_times[-1] - e.token_times[0]) / (len(e.token_times) - 1)
        for e in exchanges
        if len(e.token_times) > 1
    ]
    return {
        "ttft_p50_ms": 1000 * statistics.median(e.token_times[0] - e.intended for e in exchanges),
        "tpot_p50_ms": 1000 * statistics.median(gaps),
        "e2e_p50_ms": 1000 * statistics.median(e.ended - e.intended for e in exchanges),
        "output_tokens_per_s": sum(len(e.token_times) for e in exchanges) / seconds,
        "requests_per_s": len(exchanges) / seconds,
        "failed": len(failed),
    }


def live(found: Found, requests: Sequence[PlannedRequest]) -> LoadResult:
    """Send the requests to the engine itself."""
    target = parse_target(found.url)
    writer = RequestWriter(target, found.models, built_in_text(), ignore_eos=True)
    return asyncio.run(Load(target, writer, timeout_s=600.0).run(requests))


def step_ratio(profile: LlmProfile, exchanges: Sequence[Exchange]) -> float:
    """Return modelled over measured time of the steps that were seen live, the median.

    Where it is far from 1, the machine was not as fast as when it was calibrated; what is left of
    the error is the model's, of how requests share steps.
    """
    played = [
        Played(e.sent, e.prompt_tokens, e.cached_tokens, e.token_times)
        for e in exchanges
        if e.failure is None and e.prompt_tokens
    ]
    clock = StepClock(profile.times, profile.capacity.max_num_seqs)
    modelled = [
        (
            clock.prefill(step.new, step.pairs, step.begun, step.batch, round(step.context))
            if step.new
            else clock.decode(step.batch, round(step.context))
        )
        / (step.ms / 1000)
        for step in steps_of(played, budget=profile.capacity.max_num_batched_tokens)
        if not step.idle
    ]
    return statistics.median(modelled)


def as_counted(
    requests: Sequence[PlannedRequest], exchanges: Sequence[Exchange]
) -> list[PlannedRequest]:
    """Return the requests with prompts as long as the engine counted them."""
    counted = {exchange.request.index: exchange.prompt_tokens for exchange in exchanges}
    return [
        replace(request, prompt_tokens=counted[request.index] or request.prompt_tokens)
        for request in requests
    ]

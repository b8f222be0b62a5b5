"""Probes played to a live engine."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

from sage.benchmark.calibrate.played import Played, Shot
from sage.benchmark.classes import TrafficClass
from sage.benchmark.exchange import Exchange
from sage.benchmark.load import Load
from sage.benchmark.prompts import PromptText
from sage.benchmark.target import Found
from sage.benchmark.wire import RequestWriter
from sage.benchmark.workload import PlannedRequest
from sage.errors import UpstreamError
from sage.inference.gateway.target import parse_target

# A token now and then has no text of its own: a part of a character.
_LEAST_EVENTS = 0.8


class LivePlayer:
    """Sends probes with the benchmark's own load.

    Args:
        found: engine and model.
        text: what prompts are made of.
        seed: of the places in the text where prompts begin.
        timeout_s: seconds until an answer is given up.
    """

    def __init__(
        self, found: Found, text: PromptText, *, seed: int = 0, timeout_s: float = 120.0
    ) -> None:
        self._target = parse_target(found.url)
        self._writer = RequestWriter(
            self._target, found.models, text, ignore_eos=True, api_key=found.api_key
        )
        self._rng = random.Random(f"{seed}/probes")  # noqa: S311 - prompts, not secrets
        self._timeout_s = timeout_s

    def play(self, shots: Sequence[Shot]) -> list[Played]:
        """Send the shots, each when it is due, and wait for all answers.

        Raises:
            UpstreamError: one failed, told no usage, ended early, or did not come token by token.
        """
        requests = [
            PlannedRequest(
                number,
                shot.at,
                TrafficClass.CHAT,
                shot.prompt,
                shot.output,
                start=self._rng.randrange(1 << 30) if shot.text is None else shot.text,
            )
            for number, shot in enumerate(shots)
        ]
        load = Load(self._target, self._writer, timeout_s=self._timeout_s)
        result = asyncio.run(load.run(requests))
        exchanges = sorted(result.exchanges, key=lambda exchange: exchange.request.index)
        return [_played(exchange, result.began) for exchange in exchanges]


def _played(exchange: Exchange, began: float) -> Played:
    asked = exchange.request
    if exchange.failure is not None:
        raise UpstreamError(
            f"the engine failed a probe of {asked.prompt_tokens} tokens: {exchange.failure.value}, "
            f"{exchange.detail}"
        )
    if not exchange.prompt_tokens:
        raise UpstreamError(
            "the engine's streams tell no usage, so prompts cannot be counted; it must know "
            "stream_options.include_usage"
        )
    if exchange.output_tokens < asked.output_tokens:
        raise UpstreamError(
            f"the engine ended an answer after {exchange.output_tokens} of {asked.output_tokens} "
            "tokens; probes need one that knows ignore_eos"
        )
    events = len(exchange.token_times)
    if events < _LEAST_EVENTS * exchange.output_tokens:
        raise UpstreamError(
            f"the engine sent {exchange.output_tokens} tokens in {events} events; "
            "steps can only be told apart where tokens come one by one"
        )
    tokens = [moment - began for moment in exchange.token_times]
    return Played(exchange.sent - began, exchange.prompt_tokens, exchange.cached_tokens, tokens)

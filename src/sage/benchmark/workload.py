"""The requests of a run, drawn before it begins."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import accumulate, repeat
from pathlib import Path

from sage.benchmark.arrivals import ArrivalPattern
from sage.benchmark.classes import RequestClass, TrafficClass
from sage.benchmark.config import BenchmarkConfig, HybridBenchmarkConfig
from sage.benchmark.lengths import Lengths, parse_lengths
from sage.benchmark.planned_request import PlannedRequest
from sage.benchmark.sessions import join_turns
from sage.benchmark.traces import read_trace, scaled

__all__ = ["PlannedRequest", "plan_requests", "requests_per_arrival"]


def plan_requests(config: BenchmarkConfig) -> list[PlannedRequest]:
    """Draw the requests of a run; the same configuration gives the same ones.

    Arrivals, classes, sizes and the rest come from generators of their own, so that another rate
    changes no prompt and another length no arrival.

    Raises:
        ConfigError: the trace cannot be read.
    """
    requests = _of_trace(config) if config.trace is not None else _drawn(config)
    rng = _generator(config, "senders")
    for request in requests:
        request.start = rng.randrange(1 << 30)
        request.priority += rng.choice(config.priorities)
        if config.tenants > 1:
            request.tenant = f"tenant-{rng.randrange(config.tenants) + 1}"
    if config.has_sessions:
        join_turns(requests, config.system_lengths(), _generator(config, "systems"))
    return requests


def requests_per_arrival(config: BenchmarkConfig) -> float:
    """Return how many requests an arrival brings in the mean: a chat's turns, or one."""
    classes = config.request_classes()
    chats = sum(one.share for one in classes if one.traffic is TrafficClass.CHAT)
    share = chats / sum(one.share for one in classes)
    return share * config.lengths("turns").mean + 1 - share


def _of_trace(config: BenchmarkConfig) -> list[PlannedRequest]:
    assert config.trace is not None
    read = read_trace(
        Path(config.trace), limit=config.requests, start_s=config.trace_start_s, seed=config.seed
    )
    records = scaled(read, config.time_scale)
    mix = _Mix(config)
    requests = []
    for index, record in enumerate(records):
        shape = mix.draw()
        request = shape.request(index, record.at, record.prompt_tokens, record.output_tokens)
        request.blocks = record.blocks
        requests.append(request)
    return requests


def _drawn(config: BenchmarkConfig) -> list[PlannedRequest]:
    assert config.requests is not None
    times: Iterator[float] = repeat(0.0)
    if config.arrival is not ArrivalPattern.CLOSED:
        times = config.arrivals().times(_generator(config, "arrivals"))
    mix = _Mix(config)
    sizes, sessions = _generator(config, "sizes"), _generator(config, "sessions")
    turns, think = config.lengths("turns"), config.think_times()
    requests: list[PlannedRequest] = []
    while (left := config.requests - len(requests)) > 0:
        at, shape = next(times), mix.draw()
        for turn in range(min(left, turns.draw(sessions) if shape.chat else 1)):
            request = shape.drawn(len(requests), at, sizes)
            if turn:
                request.follows, request.think_s = request.index - 1, think.value(sessions)
            requests.append(request)
    return requests


class _Mix:
    """The classes of a configuration, drawn by share."""

    def __init__(self, config: BenchmarkConfig) -> None:
        classes = config.request_classes()
        self._shapes = [_Shape(config, one) for one in classes]
        self._bounds = list(accumulate(one.share for one in classes))
        self._rng = _generator(config, "classes")

    def draw(self) -> _Shape:
        """Return the class of the next request."""
        return self._rng.choices(self._shapes, cum_weights=self._bounds)[0]


class _Shape:
    """One class, with what the configuration says where the class does not.

    Attributes:
        chat: whether it is of chat requests.
    """

    def __init__(self, config: BenchmarkConfig, cls: RequestClass) -> None:
        self._cls = cls
        self.chat = cls.traffic is TrafficClass.CHAT
        self._slo = cls.slo
        self._stream = config.stream if cls.stream is None else cls.stream

        def lengths(own: str | None, name: str) -> Lengths:
            return config.lengths(name) if own is None else parse_lengths(own, name)

        self._batch: Lengths | None = None
        if isinstance(config, HybridBenchmarkConfig) and cls.traffic is TrafficClass.EMBEDDING:
            self._prompt = lengths(cls.prompt_tokens, "embedding_tokens")
            self._batch = lengths(cls.batch, "embedding_batch")
        else:
            self._prompt = lengths(cls.prompt_tokens, "prompt_tokens")
            self._output = lengths(cls.output_tokens, "output_tokens")

    def drawn(self, index: int, at: float, sizes: random.Random) -> PlannedRequest:
        """Return a request of drawn sizes."""
        prompt = self._prompt.draw(sizes)
        if self._batch is None:
            return self.request(index, at, prompt, self._output.draw(sizes))
        request = self.request(index, at, prompt, 0)
        request.batch = self._batch.draw(sizes)
        return request

    def request(self, index: int, at: float, prompt: int, output: int) -> PlannedRequest:
        """Return a request of the class."""
        return PlannedRequest(
            index,
            at,
            self._cls.traffic,
            prompt,
            output,
            priority=self._cls.priority,
            cls=self._cls.name,
            slo=self._slo,
            stream=self._stream,
        )


def _generator(config: BenchmarkConfig, purpose: str) -> random.Random:
    return random.Random(f"{config.seed}/{purpose}")  # noqa: S311 - arrivals, not secrets

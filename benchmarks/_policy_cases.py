"""The loads that policies are compared by: five kinds, at any rate, for any number of engines.

Of the chat requests 70% are interactive (TTFT 1 s, TPOT 50 ms), the others bulk (20 s, 200 ms).
The same case, engines, load and seed give the same requests, whatever the policy.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from sage.benchmark.arrivals import ArrivalPattern, Arrivals
from sage.benchmark.classes import INTERACTIVE_AND_BULK, RequestClass, TrafficClass
from sage.benchmark.simulate.config import SimulationConfig
from sage.benchmark.traces import TraceRecord, read_trace
from sage.benchmark.workload import PlannedRequest

TRACES = Path(__file__).parents[2] / "shared" / "traces"
INTERACTIVE, BULK = INTERACTIVE_AND_BULK
TEXTS = RequestClass(name="text", traffic=TrafficClass.EMBEDDING, e2e_ms=500.0)
BULK_TEXTS = RequestClass(name="bulk", traffic=TrafficClass.EMBEDDING, e2e_ms=20_000.0)
LEAST_REQUESTS = 400

Draw = Callable[[float, int, int, random.Random], list[TraceRecord]]
"""Makes requests from rate, how many, engines and a generator; their times are stretched to fit."""


@dataclass(frozen=True, slots=True)
class Case:
    """A kind of load.

    Attributes:
        name: of the case.
        draw: makes its requests.
        rate: requests/s for each LLM engine at load 1: about what `fifo` keeps 90% of the SLOs at.
        seconds: simulated, unless the command says otherwise.
        embeddings: share of requests that are embeddings.
        max_model_len: in place of the profile's; 0 for as much as the KV cache holds.
    """

    name: str
    draw: Draw
    rate: float
    seconds: float = 80.0
    embeddings: float = 0.0
    max_model_len: int | None = None

    def simulation(self, engines: int, policy: str) -> SimulationConfig:
        """Return the engines; there are a quarter as many embedding engines."""
        return SimulationConfig(
            engines=engines,
            policy=policy,
            embedding_profile="minilm-onnx-cpu" if self.embeddings else None,
            embedding_engines=max(1, engines // 4),
            max_model_len=self.max_model_len,
        )

    def requests(
        self, engines: int, load: float, seed: int, *, seconds: float = 0.0
    ) -> list[PlannedRequest]:
        """Return the requests of so many seconds at ``load`` times the case's own rate."""
        rate = self.rate * engines * load
        rng = random.Random(f"{self.name}/{seed}")
        count = max(LEAST_REQUESTS, int(rate * (seconds or self.seconds)))
        records = self.draw(rate, count, engines, rng)
        stretch = count / rate / max(records[-1].at, 1e-9)
        classes = random.Random(f"{self.name}/{seed}/classes")
        return [
            self._planned(n, replace(record, at=record.at * stretch), classes)
            for n, record in enumerate(records)
        ]

    def _planned(self, n: int, record: TraceRecord, rng: random.Random) -> PlannedRequest:
        embeds, waits = rng.random() < self.embeddings, rng.random() < INTERACTIVE.share
        if embeds:
            cls = TEXTS if waits else BULK_TEXTS
            tokens = max(4, min(512, int(rng.lognormvariate(4.2, 0.6))))
            planned = PlannedRequest(n, record.at, cls.traffic, tokens)
            planned.batch = 1 if waits else rng.randint(16, 64)
        else:
            cls = INTERACTIVE if waits else BULK
            planned = PlannedRequest(
                n, record.at, cls.traffic, record.prompt_tokens, record.output_tokens
            )
            planned.blocks = record.blocks
        planned.cls, planned.slo = cls.name, cls.slo
        return planned


@cache
def _trace(name: str) -> tuple[TraceRecord, ...]:
    return tuple(read_trace(TRACES / name))


def _window(name: str) -> Draw:
    """A stretch of a trace from a place the seed decides, going on at its start when it ends."""

    def draw(rate: float, count: int, engines: int, rng: random.Random) -> list[TraceRecord]:  # noqa: ARG001 - Draw's signature
        trace = _trace(name)
        span = trace[-1].at * len(trace) / (len(trace) - 1)
        first = rng.randrange(len(trace))
        # Blocks of one round are not those of another, so that no cache gains from it.
        ids = 1 + max(max(record.blocks, default=0) for record in trace)
        found = []
        for n in range(first, first + count):
            turn, place = divmod(n, len(trace))
            at = trace[place].at + turn * span - trace[first].at
            blocks = tuple(block + ids * turn for block in trace[place].blocks)
            found.append(replace(trace[place], at=at, blocks=blocks))
        return found

    return draw


def _gamma(cv: float) -> Draw:
    """Azure's lengths, drawn anew, at gamma distributed gaps."""

    def draw(rate: float, count: int, engines: int, rng: random.Random) -> list[TraceRecord]:  # noqa: ARG001 - Draw's signature
        trace = _trace("azure_conv.csv")
        times = Arrivals(ArrivalPattern.GAMMA, rate, cv, 1, rate, 1.0).times(rng)
        return [replace(rng.choice(trace), at=next(times)) for _ in range(count)]

    return draw


def _waves(rate: float, count: int, engines: int, rng: random.Random) -> list[TraceRecord]:  # noqa: ARG001 - Draw's signature
    """Azure's lengths, drawn anew; for 4 of each 16 seconds 2.5 times the mean rate, else half."""
    trace = _trace("azure_conv.csv")
    at, found = 0.0, []
    for _ in range(count):
        at += rng.expovariate(rate * (2.5 if at % 16.0 < 4.0 else 0.5))
        found.append(replace(rng.choice(trace), at=at))
    return found


def _prefixes(rate: float, count: int, engines: int, rng: random.Random) -> list[TraceRecord]:
    """One of many beginnings of 4,096 tokens, more than one cache holds, and a short rest."""
    heads = 150 * engines
    weights = [(rank + 10) ** -0.5 for rank in range(heads)]
    at, found = 0.0, []
    for chosen in rng.choices(range(heads), weights, k=count):
        at += rng.expovariate(rate)
        rest = max(16, min(2000, int(rng.lognormvariate(5.5, 0.8))))
        output = max(2, min(1000, int(rng.lognormvariate(4.6, 0.8))))
        blocks = tuple(chosen * 8 + n for n in range(8))
        found.append(TraceRecord(at, 4096 + rest, output, blocks))
    return found


CASES = {
    case.name: case
    for case in (
        Case("azure", _window("azure_conv.csv"), 22.0),
        Case(
            "mooncake",
            _window("mooncake_conversation.jsonl"),
            1.0,
            seconds=800.0,
            max_model_len=0,
        ),
        Case("bursty", _gamma(3.5), 22.0),
        Case("waves", _waves, 12.0),
        Case("prefixes", _prefixes, 10.0),
        Case("mixed", _gamma(1.0), 32.0, embeddings=0.3),
    )
}

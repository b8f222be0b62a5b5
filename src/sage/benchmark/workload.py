"""The requests of a run, drawn before it begins."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from pathlib import Path

from sage.benchmark.arrivals import ArrivalPattern
from sage.benchmark.config import BenchmarkConfig, HybridBenchmarkConfig
from sage.benchmark.traces import read_trace, scaled


class TrafficClass(StrEnum):
    """What a request asks for; results are given by class."""

    CHAT = "chat"
    EMBEDDING = "embedding"


@dataclass(slots=True)
class PlannedRequest:
    """One request as it will be sent.

    Attributes:
        index: its place in the run.
        at: seconds from the start when it should leave; 0 in a closed loop.
        traffic: its class.
        prompt_tokens: of the prompt, or of each text to embed.
        output_tokens: most tokens asked for; 0 for embeddings.
        batch: texts to embed; 1 for chat.
        start: where in the text its prompt begins.
        tenant: whose it is; empty when there is only one.
        priority: larger is more urgent.
        blocks: ids of the prompt's blocks of 512 tokens, when a trace gives them.
    """

    index: int
    at: float
    traffic: TrafficClass
    prompt_tokens: int
    output_tokens: int = 0
    batch: int = 1
    start: int = 0
    tenant: str = ""
    priority: int = 0
    blocks: tuple[int, ...] = ()


def plan_requests(config: BenchmarkConfig) -> list[PlannedRequest]:
    """Draw the requests of a run; the same configuration gives the same ones.

    Arrivals, sizes and the rest come from generators of their own, so that another rate changes
    no prompt and another length no arrival.

    Raises:
        ConfigError: the trace cannot be read.
    """
    requests = _of_trace(config) if config.trace is not None else _drawn(config)
    rng = _generator(config, "senders")
    for request in requests:
        request.start = rng.randrange(1 << 30)
        request.priority = rng.choice(config.priorities)
        if config.tenants > 1:
            request.tenant = f"tenant-{rng.randrange(config.tenants) + 1}"
    return requests


def _of_trace(config: BenchmarkConfig) -> list[PlannedRequest]:
    assert config.trace is not None
    records = scaled(read_trace(Path(config.trace), limit=config.requests), config.time_scale)
    return [
        PlannedRequest(
            index,
            record.at,
            TrafficClass.CHAT,
            record.prompt_tokens,
            record.output_tokens,
            blocks=record.blocks,
        )
        for index, record in enumerate(records)
    ]


def _drawn(config: BenchmarkConfig) -> list[PlannedRequest]:
    assert config.requests is not None
    if config.arrival is ArrivalPattern.CLOSED:
        times = [0.0] * config.requests
    else:
        endless = config.arrivals().times(_generator(config, "arrivals"))
        times = list(islice(endless, config.requests))
    classes = _generator(config, "classes")
    sizes = _generator(config, "sizes")
    prompt, output = config.lengths("prompt_tokens"), config.lengths("output_tokens")
    requests = []
    for index, at in enumerate(times):
        if isinstance(config, HybridBenchmarkConfig) and classes.random() >= config.llm_ratio:
            requests.append(_embedding(config, index, at, sizes))
        else:
            chat = PlannedRequest(
                index, at, TrafficClass.CHAT, prompt.draw(sizes), output.draw(sizes)
            )
            requests.append(chat)
    return requests


def _embedding(
    config: HybridBenchmarkConfig, index: int, at: float, sizes: random.Random
) -> PlannedRequest:
    tokens = config.lengths("embedding_tokens").draw(sizes)
    batch = config.lengths("embedding_batch").draw(sizes)
    return PlannedRequest(index, at, TrafficClass.EMBEDDING, tokens, batch=batch)


def _generator(config: BenchmarkConfig, purpose: str) -> random.Random:
    return random.Random(f"{config.seed}/{purpose}")  # noqa: S311 - arrivals, not secrets

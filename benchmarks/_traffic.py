"""The traffic of the SLO benchmark: chat that someone waits for, bulk, and embeddings."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sage.benchmark.arrivals import ArrivalPattern
from sage.benchmark.classes import RequestClass, TrafficClass
from sage.benchmark.config import HybridBenchmarkConfig
from sage.benchmark.workload import PlannedRequest, plan_requests
from sage.inference.scheduling.request import Priority


@dataclass(frozen=True)
class Mix:
    """What is sent.

    Attributes:
        chat_ttft_ms: objective of chat, from when it should have left to the first token.
        bulk_deadline_ms: objective of bulk, to the last byte.
        embedding_deadline_ms: objective of embeddings, to the last byte.
        embeddings: embedding requests for each LLM request.
    """

    chat_ttft_ms: float = 1500.0
    bulk_deadline_ms: float = 60_000.0
    embedding_deadline_ms: float = 500.0
    embeddings: float = 0.5

    def classes(self) -> tuple[RequestClass, ...]:
        """Return the classes: of the LLM requests 70% are chat and 30% bulk."""
        return (
            RequestClass(
                name="chat",
                share=0.7,
                ttft_ms=self.chat_ttft_ms,
                prompt_tokens="uniform:16:64",
                output_tokens="uniform:8:24",
            ),
            RequestClass(
                name="bulk",
                share=0.3,
                e2e_ms=self.bulk_deadline_ms,
                priority=Priority.LOW.value,
                prompt_tokens="uniform:32:128",
                output_tokens="uniform:16:32",
            ),
            RequestClass(
                name="embedding",
                share=self.embeddings,
                traffic=TrafficClass.EMBEDDING,
                e2e_ms=self.embedding_deadline_ms,
                prompt_tokens="uniform:8:64",
            ),
        )


def offer(
    mix: Mix, *, rate: float, seconds: float, seed: int, text: int, ramp_from: float | None = None
) -> list[PlannedRequest]:
    """Draw the requests of one run, in the order they are due: each class a Poisson process.

    Args:
        mix: the traffic.
        rate: requests per second of all classes together; at the end of a ramp.
        seconds: from the first moment to the last at which one may be due.
        seed: of moments, classes and sizes.
        text: which part of the text the prompts are taken from. Runs of one seed and another
            text have the same moments and sizes, and no engine knows the prompts from before.
        ramp_from: requests per second at the start, growing to ``rate``; None for a steady rate.
    """
    config = HybridBenchmarkConfig(
        classes=mix.classes(), seed=seed, rate=rate, requests=int(3 * rate * seconds) + 60
    )
    if ramp_from is not None:
        config = replace(config, arrival=ArrivalPattern.RAMP, ramp_from=ramp_from, ramp_s=seconds)
    requests = [request for request in plan_requests(config) if request.at < seconds]
    for request in requests:
        request.start += text * 7_919
    return requests

"""The traffic of the SLO benchmark: chat that someone waits for, bulk, and embeddings."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sage.benchmark.arrivals import ArrivalPattern
from sage.benchmark.config import HybridBenchmarkConfig
from sage.benchmark.prompts import PromptText
from sage.benchmark.slo import HybridSLOConfig, LLMSLOConfig
from sage.benchmark.wire import Models, RequestWriter
from sage.benchmark.workload import PlannedRequest, plan_requests
from sage.inference.gateway.target import Target


@dataclass(frozen=True)
class Class:
    """One class of traffic.

    Attributes:
        name: as the results name it.
        share: of all requests.
        headers: what its requests ask of the gateway.
        config: its sizes and objectives, the latter the same as the headers'.
    """

    name: str
    share: float
    headers: bytes
    config: HybridBenchmarkConfig


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

    def classes(self) -> tuple[Class, ...]:
        """Return the classes: of the LLM requests 70% are chat and 30% bulk."""
        llm = 1 / (1 + self.embeddings)
        chat = HybridBenchmarkConfig(
            llm_ratio=1,
            prompt_tokens="uniform:16:64",
            output_tokens="uniform:8:24",
            slo=HybridSLOConfig(LLMSLOConfig(self.chat_ttft_ms, None, None)),
        )
        bulk = HybridBenchmarkConfig(
            llm_ratio=1,
            prompt_tokens="uniform:32:128",
            output_tokens="uniform:16:32",
            slo=HybridSLOConfig(LLMSLOConfig(None, None, self.bulk_deadline_ms)),
        )
        embedding = HybridBenchmarkConfig(
            llm_ratio=0,
            embedding_tokens="uniform:8:64",
            slo=HybridSLOConfig(embedding_ms=self.embedding_deadline_ms),
        )
        return (
            Class("chat", 0.7 * llm, b"x-slo-ttft-ms: %d\r\n" % self.chat_ttft_ms, chat),
            Class(
                "bulk",
                0.3 * llm,
                b"x-request-priority: LOW\r\nx-slo-deadline-ms: %d\r\n" % self.bulk_deadline_ms,
                bulk,
            ),
            Class(
                "embedding",
                1 - llm,
                b"x-slo-deadline-ms: %d\r\n" % self.embedding_deadline_ms,
                embedding,
            ),
        )


@dataclass(frozen=True)
class Offer:
    """Requests in the order they are due.

    Attributes:
        requests: whose ``index`` is their place.
        classes: the class of each.
    """

    requests: list[PlannedRequest]
    classes: list[Class]


def offer(
    mix: Mix, *, rate: float, seconds: float, seed: int, text: int, ramp_from: float | None = None
) -> Offer:
    """Draw the requests of one run, each class a Poisson process of its own.

    Args:
        mix: the traffic.
        rate: requests per second of all classes together; at the end of a ramp.
        seconds: from the first moment to the last at which one may be due.
        seed: of moments and sizes.
        text: which part of the text the prompts are taken from. Runs of one seed and another
            text have the same moments and sizes, and no engine knows the prompts from before.
        ramp_from: requests per second at the start, growing to ``rate``; None for a steady rate.
    """
    drawn: list[tuple[PlannedRequest, Class]] = []
    for item in mix.classes():
        config = replace(
            item.config,
            seed=seed,
            rate=rate * item.share,
            requests=int(3 * rate * seconds * item.share) + 20,
        )
        if ramp_from is not None:
            pattern = {"arrival": ArrivalPattern.RAMP, "ramp_from": ramp_from * item.share}
            config = replace(config, **pattern, ramp_s=seconds)
        requests = plan_requests(replace(config, seed=_mixed(seed, item.name)))
        drawn += [(request, item) for request in requests if request.at < seconds]
    drawn.sort(key=lambda pair: pair[0].at)
    for index, (request, _) in enumerate(drawn):
        request.index = index
        request.start += text * 7_919
    return Offer([request for request, _ in drawn], [item for _, item in drawn])


def _mixed(seed: int, name: str) -> int:
    return seed * 1_000_003 + int.from_bytes(name.encode(), "big") % 1_000_003


class TermsWriter(RequestWriter):
    """Writes requests with the headers of their class, which the plain writer cannot.

    Args:
        target: where they go.
        models: whom they ask.
        text: where prompts come from.
        classes: the class of each request, by its index.
    """

    def __init__(
        self, target: Target, models: Models, text: PromptText, classes: list[Class]
    ) -> None:
        super().__init__(target, models, text, ignore_eos=True)
        self._classes = classes

    def write(self, request: PlannedRequest) -> bytes:
        """Return head and body."""
        line, rest = super().write(request).split(b"\r\n", 1)
        return b"%b\r\n%b%b" % (line, self._classes[request.index].headers, rest)

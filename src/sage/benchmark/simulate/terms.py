"""What requests of a simulation ask for: their class and its objectives."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sage.benchmark.config import BenchmarkConfig
from sage.benchmark.slo import HybridSLOConfig, LLMSLOConfig
from sage.benchmark.workload import PlannedRequest, TrafficClass
from sage.errors import ConfigError
from sage.inference.scheduling.slo import SLO


@dataclass(frozen=True, slots=True)
class Terms:
    """What the gateway is told of a request.

    Attributes:
        cls: its class; empty takes the kind's.
        slo: its objectives; None for none.
        priority: added to the request's own.
    """

    cls: str = ""
    slo: SLO | None = None
    priority: int = 0


TermsOf = Callable[[PlannedRequest], Terms]


def terms_of(config: BenchmarkConfig) -> TermsOf:
    """Return the terms that the configuration's SLOs make: those by which answers are judged."""
    slo = config.slo
    chat = slo.llm if isinstance(slo, HybridSLOConfig) else slo
    embedding_ms = slo.embedding_ms if isinstance(slo, HybridSLOConfig) else None
    by_traffic = {
        TrafficClass.CHAT: Terms(slo=objectives(chat)),
        TrafficClass.EMBEDDING: Terms(
            slo=None if embedding_ms is None else SLO(deadline_s=embedding_ms / 1000)
        ),
    }
    return lambda request: by_traffic[request.traffic]


def mixed_terms(classes: Sequence[tuple[float, Terms]], *, seed: int) -> TermsOf:
    """Return terms drawn by share for each request; the same seed gives the same ones.

    Args:
        classes: (share, terms); the shares are relative to their sum.
        seed: of the draws, which do not depend on the order in which requests are asked about.

    Raises:
        ConfigError: no class, or a share that is not above 0.
    """
    if not classes or not all(share > 0 for share, _ in classes):
        raise ConfigError("a mix needs classes with shares above 0")
    shares = [share for share, _ in classes]
    terms = [item for _, item in classes]

    def draw(request: PlannedRequest) -> Terms:
        rng = random.Random(f"{seed}/class/{request.index}")  # noqa: S311 - classes, not secrets
        return rng.choices(terms, shares)[0]

    return draw


def objectives(slo: LLMSLOConfig) -> SLO | None:
    """Return the scheduler's form of a benchmark's SLO; None where it asks for nothing."""
    limits = (slo.ttft_ms, slo.tpot_ms, slo.e2e_ms)
    if all(limit is None for limit in limits):
        return None
    return SLO(*(None if limit is None else limit / 1000 for limit in limits))

"""The most requests that any router could have had answered in time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sage.benchmark.bounds.chat_work import chat_work
from sage.benchmark.bounds.relaxation import relax
from sage.benchmark.bounds.work import Work, embedding_work, split
from sage.benchmark.simulate.config import SimulationConfig
from sage.benchmark.workload import PlannedRequest
from sage.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Bound:
    """No router gets more than this, whatever it knows beforehand.

    Attributes:
        good: requests answered within their SLO at most, or the sum of their weights.
        issued: requests there are, or the sum of their weights.
    """

    good: float
    issued: float

    @property
    def attainment(self) -> float:
        """The share of all requests that can be in time at most."""
        return self.good / self.issued if self.issued else 1.0


def bound(
    requests: Sequence[PlannedRequest],
    simulation: SimulationConfig,
    *,
    weights: Mapping[str, float] | None = None,
) -> Bound:
    """Bound what these engines can answer in time of these requests; docs/bounds.md says why.

    Args:
        requests: of an open loop, with their SLOs.
        simulation: gateway and engines; its policy plays no part.
        weights: of requests by class, at least 0; 1 where nothing is said.

    Raises:
        ConfigError: SciPy is not installed, a profile cannot be read, or requests follow answers.
    """
    if any(r.follows is not None for r in requests):
        raise ConfigError("turns of sessions follow answers; a bound needs moments of their own")
    values = [1.0 if weights is None else weights.get(r.cls, 1.0) for r in requests]
    good = 0.0
    for work, engines in pools(requests, simulation):
        gains = [1.0 if weights is None else weights.get(w.request.cls, 1.0) for w in work]
        good += relax(work, gains, engines).value
    good *= 1 + 1e-9
    if all(value == 1.0 for value in values):
        good = min(float(math.floor(good)), float(len(requests)))
    return Bound(good, sum(values))


def pools(
    requests: Sequence[PlannedRequest], simulation: SimulationConfig
) -> list[tuple[list[Work], float]]:
    """Return the requests' work for each kind of engine, and how many engines work on it.

    Requests that no engine is there for are left out.
    """
    chat, texts = split(requests)
    found: list[tuple[list[Work], float]] = []
    llm, embedding = simulation.profiles()
    if chat and llm is not None:
        found.append((chat_work(chat, llm, simulation), float(simulation.engines)))
    if texts and embedding is not None:
        workers = simulation.embedding_engines * embedding.workers
        found.append((embedding_work(texts, embedding, simulation), float(workers)))
    return found

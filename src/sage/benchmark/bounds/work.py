"""The least engine time that a request can cost, and the windows in which it must be spent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sage.benchmark.classes import TrafficClass
from sage.benchmark.simulate.config import SimulationConfig
from sage.benchmark.simulate.profile import EmbeddingProfile
from sage.benchmark.workload import PlannedRequest

NEVER = float("inf")
# Of rounding: what is possible is never called impossible for its sake.
SLACK = 1e-9

Shares = tuple[float, ...]
"""Seconds under each way to divide a step's fixed time among those in it."""


@dataclass(frozen=True, slots=True)
class Part:
    """Work that must be done in a window for a request to be in time.

    Attributes:
        release: when it can begin, in seconds of the run.
        due: when it must be done; infinite for no limit.
        seconds: of one engine, under each way to share a step's fixed time.
    """

    release: float
    due: float
    seconds: Shares


@dataclass(frozen=True, slots=True)
class Work:
    """A request as the bound sees it.

    Attributes:
        request: which.
        parts: what it costs; for chat the prompt, and the whole answer.
        possible: whether it could be in time on an engine of its own.
    """

    request: PlannedRequest
    parts: tuple[Part, ...]
    possible: bool

    @property
    def seconds(self) -> float:
        """Its engine time, by the dearest way to share; to compare requests by."""
        return max(map(sum, zip(*(part.seconds for part in self.parts), strict=True)))


def embedding_work(
    requests: Sequence[PlannedRequest], profile: EmbeddingProfile, simulation: SimulationConfig
) -> list[Work]:
    """Return the work of embedding requests, in their order.

    A batch's fixed time is shared by its texts, or by its padded tokens; padding costs nothing.
    """
    call, token = profile.call_ms / 1000, profile.token_ms / 1000
    before = 2 * simulation.lag + profile.h_in / 1000
    after = 2 * simulation.lag + profile.h_out / 1000
    found = []
    for request in requests:
        length, texts = request.prompt_tokens, request.batch
        computed = token * length * texts
        limit = None if request.slo is None else request.slo.deadline_s
        release = request.at + before
        due = NEVER if limit is None else request.at + limit - after
        seconds = (
            computed + call * texts / profile.max_texts,
            computed + call * texts * min(1.0, length / profile.max_tokens),
        )
        alone = max(call + token * length, max(seconds) / profile.workers)
        part = Part(release, due, seconds)
        found.append(Work(request, (part,), release + alone <= due + SLACK))
    return found


def split(
    requests: Sequence[PlannedRequest],
) -> tuple[list[PlannedRequest], list[PlannedRequest]]:
    """Return chat requests and the others."""
    chat = [r for r in requests if r.traffic is TrafficClass.CHAT]
    return chat, [r for r in requests if r.traffic is not TrafficClass.CHAT]

"""What the scheduler knows of a request."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum

from sage.inference.scheduling.slo import SLO

_BULK_CLASSES = frozenset({"bulk", "batch"})
_BULK_EMBEDDING = 2048
_PATIENT_S = 5.0


class Kind(StrEnum):
    """What a request asks for, and what an instance can do."""

    LLM = "llm"
    EMBEDDING = "embedding"


class Priority(IntEnum):
    """The priorities that have names; any integer between or beyond is one too."""

    HIGH = 10
    NORMAL = 0
    LOW = -10


@dataclass(slots=True)
class Request:
    """One request, as the scheduler sees it: no body, no socket.

    Attributes:
        id: unique for the life of the scheduler.
        kind: LLM or embedding; only instances of the same kind can serve it.
        model: the model's served name.
        arrived: when it reached the gateway, in seconds of the caller's clock.
        prompt_tokens: guessed tokens to prefill (LLM) or to embed; the scheduler corrects the
            guess by what engines have reported for the model.
        expected_tokens: most tokens it will generate; 0 when not known, and for embeddings.
        priority: higher goes first where the policy looks at it; see Priority.
        tenant: whom it is served for; empty for nobody in particular.
        slo: what it must meet; None takes the SLO of its class, then of its tenant.
        prefix: hashes of the prompt's blocks, each covering all blocks before it too, so that
            equal hashes mean equal beginnings.
        cls: name of its class in the configuration and in the figures; empty takes the kind's.
        streamed: whether its answer is wanted token by token.
        prefix_tokens: how many of ``prompt_tokens`` the blocks of ``prefix`` make up; 0 for all.
    """

    id: int
    kind: Kind
    model: str
    arrived: float
    prompt_tokens: int = 0
    expected_tokens: int = 0
    priority: int = 0
    tenant: str = ""
    slo: SLO | None = None
    prefix: tuple[int, ...] = ()
    cls: str = ""
    streamed: bool = False
    prefix_tokens: int = 0


def is_bulk(request: Request) -> bool:
    """Whether nobody waits for it: low priority, class "bulk" or "batch", or a large embedding."""
    return (
        request.priority < 0
        or request.cls in _BULK_CLASSES
        or (request.kind is Kind.EMBEDDING and request.prompt_tokens > _BULK_EMBEDDING)
    )


def is_bulk_embedding(request: Request, slo: SLO | None) -> bool:
    """Whether it is an embedding that nobody waits for, by its own terms or by those of its SLO."""
    if request.kind is not Kind.EMBEDDING:
        return False
    patient = slo is not None and slo.deadline_s is not None and slo.deadline_s >= _PATIENT_S
    return patient or is_bulk(request)

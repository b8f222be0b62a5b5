"""What the scheduler knows of a request."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import IntEnum, StrEnum

from sage.errors import ConfigError


class Kind(StrEnum):
    """What a request asks for, and what an instance can do."""

    LLM = "llm"
    EMBEDDING = "embedding"


class Priority(IntEnum):
    """The priorities that have names; any integer between or beyond is one too."""

    HIGH = 10
    NORMAL = 0
    LOW = -10


@dataclass(frozen=True, slots=True)
class SLO:
    """What a request must meet, in seconds; None asks for nothing.

    Attributes:
        ttft_s: from arrival to the first token, or to the whole answer where it is not streamed.
        tpot_s: mean time between two tokens after the first.
        deadline_s: from arrival to the last byte.

    Raises:
        ConfigError: a time that is not above zero.
    """

    ttft_s: float | None = None
    tpot_s: float | None = None
    deadline_s: float | None = None

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if value is not None and not value > 0.0:
                raise ConfigError(f"{item.name} of an SLO is {value}; it must be above 0 seconds")


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

"""What the scheduler knows of a request."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a request asks for, and what an instance can do."""

    LLM = "llm"
    EMBEDDING = "embedding"


@dataclass(slots=True)
class Request:
    """One request, as the scheduler sees it: no body, no socket.

    Attributes:
        id: unique for the life of the scheduler.
        kind: LLM or embedding; only instances of the same kind can serve it.
        model: the model's served name.
        arrived: when it reached the gateway, in seconds of the caller's clock.
        prompt_tokens: estimated tokens to prefill (LLM) or to embed.
        expected_tokens: estimated tokens to generate; 0 for embeddings.
    """

    id: int
    kind: Kind
    model: str
    arrived: float
    prompt_tokens: int = 0
    expected_tokens: int = 0

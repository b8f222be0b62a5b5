"""What a request gave, with its costs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class InferenceResult:
    """One answer, and what it took.

    Attributes:
        text: the answer's text (its first choice); ``""`` when it holds only tool calls, ``None``
            for embeddings.
        vectors: one vector a text, in the order of the texts; ``None`` for chat and generate.
        model: the model that answered, as the server names it.
        instance: the engine that answered, when the gateway names it.
        prompt_tokens: tokens read, when the server counts them.
        completion_tokens: tokens written, when the server counts them.
        latency_s: seconds from the call to the whole answer, retries included.
        ttft_s: seconds from the call to the first piece of text; ``None`` when not streamed.
        finish_reason: why the model stopped (``"stop"``, ``"length"``, ``"tool_calls"``, …).
        request_id: the server's id of the request.
        tool_calls: the tool calls of the answer, in OpenAI's shape.
        raw: the decoded answer; the last event when streamed; one answer for each part of a
            split embedding request.
    """

    text: str | None = None
    vectors: list[list[float]] | None = None
    model: str | None = None
    instance: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    latency_s: float = 0.0
    ttft_s: float | None = None
    finish_reason: str | None = None
    request_id: str | None = None
    tool_calls: tuple[dict[str, Any], ...] = ()
    raw: Any = field(default=None, repr=False)

    def embedded(self, *, single: bool) -> list[float] | list[list[float]]:
        """The vectors alone; of a ``single`` text, its vector."""
        vectors = self.vectors or []
        return vectors[0] if single else vectors

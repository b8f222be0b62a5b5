"""What an answer must keep to be a good one."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields

from sage.errors import ConfigError


def _positive(config: object, where: str) -> None:
    for item in fields(config):  # type: ignore[arg-type] # both callers are dataclasses
        value = getattr(config, item.name)
        if isinstance(value, LLMSLOConfig):
            value.validate()
        elif value is not None and not (math.isfinite(value) and value > 0):
            raise ConfigError(f"{where}: {item.name} is {value}; it must be a positive number")


@dataclass(frozen=True, slots=True)
class LLMSLOConfig:
    """Limits of a chat request; each one that is not None must be kept.

    Attributes:
        ttft_ms: milliseconds from when the request should have left to its first token.
        tpot_ms: mean milliseconds a token after the first one.
        e2e_ms: milliseconds from when it should have left to the answer's end.
    """

    ttft_ms: float | None = 1000.0
    tpot_ms: float | None = 100.0
    e2e_ms: float | None = None

    def validate(self) -> None:
        """Raise ConfigError for a limit that is not positive."""
        _positive(self, "LLM SLO")


@dataclass(frozen=True, slots=True)
class HybridSLOConfig:
    """Limits by class of a mixed load.

    Attributes:
        llm: of chat requests.
        embedding_ms: milliseconds from when an embedding request should have left to its end.
    """

    llm: LLMSLOConfig = field(default_factory=LLMSLOConfig)
    embedding_ms: float | None = 500.0

    def validate(self) -> None:
        """Raise ConfigError for a limit that is not positive."""
        _positive(self, "hybrid SLO")

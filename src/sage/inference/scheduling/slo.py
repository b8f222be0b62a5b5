"""What a request must meet."""

from __future__ import annotations

from dataclasses import dataclass, fields

from sage.errors import ConfigError


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

"""The gateway's limits in time and size."""

from __future__ import annotations

from dataclasses import dataclass, fields

from sage.errors import ConfigError


@dataclass(frozen=True, slots=True)
class GatewayLimits:
    """Limits of one gateway; each that is given is above zero.

    Attributes:
        request_timeout: seconds from a request's arrival to its last byte, queueing included.
        idle_timeout: seconds an engine may be silent once it has begun to answer.
        connect_timeout: seconds to connect to an engine.
        body_timeout: seconds a client has to send its body.
        max_body_bytes: largest request body.
        max_queued: requests of one model that may wait for a slot. None for 256 for each of its
            instances, and at least 1,024.
    """

    request_timeout: float = 600.0
    idle_timeout: float = 120.0
    connect_timeout: float = 5.0
    body_timeout: float = 30.0
    max_body_bytes: int = 64 * 1024 * 1024
    max_queued: int | None = None

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if value is not None and not value > 0:
                raise ConfigError(f"{item.name} is {value}; it must be above 0")

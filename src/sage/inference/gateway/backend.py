"""An engine instance as the gateway reaches it."""

from __future__ import annotations

import re
from enum import StrEnum

from sage.errors import ConfigError
from sage.inference.gateway.breaker import Breaker, BreakerRule
from sage.inference.gateway.embedding import EmbeddingBus
from sage.inference.gateway.headers import RequestHead
from sage.inference.gateway.upstream import Upstream
from sage.inference.scheduling.instance import InstanceSpec

_HEAD = b"POST %b%b HTTP/1.1\r\nhost: %b\r\n%b%bx-request-id: %b\r\ncontent-length: %d\r\n\r\n"
_HEADER_SAFE = re.compile(r"[\x21-\x7e]{1,200}")


_GET = b"GET %b%b HTTP/1.1\r\nhost: %b\r\n%baccept: application/json\r\n\r\n"


class Hold(StrEnum):
    """Who keeps an instance from being given work."""

    OPERATOR = "operator"
    DRAIN = "drain"
    PROBE = "probe"
    BREAKER = "breaker"


class Backend:
    """One instance's address, key and connections, and what is known of its health.

    Attributes:
        spec: with its full limit, which the scheduler may know lowered for a while.
        holds: why it is given no work, by who says so; it is up while this is empty.
        breaker: told of the attempts at it.
        ramp_began: when its slow start began; None while there is none.
        served: whether it has been given a request yet.
        bus: carries its embedding requests; None where each goes as it comes.
        priorities: whether it takes the request field ``priority``.

    Args:
        spec: what the scheduler knows of it.
        upstream: the connections to it.
        api_key: sent in place of the client's Authorization, if there is one.
        breaker: of this instance.

    Raises:
        ConfigError: the id or key cannot stand in a header.
    """

    def __init__(
        self,
        spec: InstanceSpec,
        upstream: Upstream,
        api_key: str | None,
        breaker: Breaker | None = None,
    ) -> None:
        if not _HEADER_SAFE.fullmatch(spec.id):
            raise ConfigError(
                f"instance id {spec.id!r} must be 1 to 200 printable ASCII characters, no spaces"
            )
        if api_key is not None and not _HEADER_SAFE.fullmatch(api_key):
            raise ConfigError(
                f"the API key of instance {spec.id!r} holds characters that a header cannot"
            )
        self.spec = spec
        self.id = spec.id
        self.header_id = spec.id.encode()
        self.upstream = upstream
        self.holds: dict[Hold, str] = {}
        self.breaker = breaker or Breaker(BreakerRule())
        self.ramp_began: float | None = None
        self.served = False
        self.bus: EmbeddingBus | None = None
        self.priorities = False
        self._authorization = f"Bearer {api_key}".encode() if api_key else b""
        self._host = upstream.target.authority.encode()
        self._prefix = upstream.target.prefix.encode()

    def request_head(self, target: bytes, head: RequestHead, request_id: bytes, size: int) -> bytes:
        """Return request line and headers for a POST.

        Args:
            target: path and query.
            head: the client's; its keys are used when the instance has none of its own.
            request_id: sent as X-Request-ID.
            size: bytes of the body.
        """
        lines = head.lines
        key = self._authorization or head.authorization
        auth = b"authorization: %b\r\n" % key if key else b""
        if head.api_key and not self._authorization:
            auth += b"x-api-key: %b\r\n" % head.api_key
        return _HEAD % (self._prefix, target, self._host, lines, auth, request_id, size)

    def get_head(self, target: bytes) -> bytes:
        """Return request line and headers for a GET of the gateway's own."""
        auth = b"authorization: %b\r\n" % self._authorization if self._authorization else b""
        return _GET % (self._prefix, target, self._host, auth)

"""An engine instance as the gateway reaches it."""

from __future__ import annotations

import re

from sage.errors import ConfigError
from sage.inference.gateway.upstream import Upstream
from sage.inference.scheduling.instance import InstanceSpec

_HEAD = b"POST %b%b HTTP/1.1\r\nhost: %b\r\n%b%bx-request-id: %b\r\ncontent-length: %d\r\n\r\n"
_HEADER_SAFE = re.compile(r"[\x21-\x7e]{1,200}")


class Backend:
    """One instance's address, key and connections.

    Args:
        spec: what the scheduler knows of it.
        upstream: the connections to it.
        api_key: sent in place of the client's Authorization, if there is one.

    Raises:
        ConfigError: the id or key cannot stand in a header.
    """

    def __init__(self, spec: InstanceSpec, upstream: Upstream, api_key: str | None) -> None:
        if not _HEADER_SAFE.fullmatch(spec.id):
            raise ConfigError(
                f"instance id {spec.id!r} must be 1 to 200 printable ASCII characters, no spaces"
            )
        if api_key is not None and not _HEADER_SAFE.fullmatch(api_key):
            raise ConfigError(
                f"the API key of instance {spec.id!r} holds characters that a header cannot"
            )
        self.id = spec.id
        self.header_id = spec.id.encode()
        self.upstream = upstream
        self._authorization = f"Bearer {api_key}".encode() if api_key else b""
        self._host = upstream.target.authority.encode()
        self._prefix = upstream.target.prefix.encode()

    def request_head(
        self, target: bytes, lines: bytes, authorization: bytes, request_id: bytes, size: int
    ) -> bytes:
        """Return request line and headers for a POST.

        Args:
            target: path and query.
            lines: the client's headers that pass through, each line ended.
            authorization: the client's; used when the instance has no key of its own.
            request_id: sent as X-Request-ID.
            size: bytes of the body.
        """
        key = self._authorization or authorization
        auth = b"authorization: %b\r\n" % key if key else b""
        return _HEAD % (self._prefix, target, self._host, lines, auth, request_id, size)

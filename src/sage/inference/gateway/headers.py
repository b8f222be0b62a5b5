"""Which headers pass through the gateway, and in what form."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from sage.inference.gateway.asgi import Headers
from sage.inference.gateway.errors import ApiError
from sage.inference.gateway.reply import STATUS_LINES
from sage.inference.gateway.response import ResponseHead
from sage.inference.gateway.terms import TERM_HEADERS

# Headers of one connection (RFC 9110, 7.6.1), never passed on.
_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
# The gateway writes these itself, or answers them itself.
_OWN_REQUEST = _HOP_BY_HOP | {
    b"host",
    b"content-length",
    b"expect",
    b"authorization",
    b"x-request-id",
    b"x-api-key",
    *TERM_HEADERS,
}
_OWN_RESPONSE = _HOP_BY_HOP | {b"x-request-id", b"x-sage-instance", b"x-sage-queue-ms"}
_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,200}")


@dataclass(slots=True)
class RequestHead:
    """A client's headers, ready to be sent on.

    Attributes:
        lines: the headers that pass through, each line ended.
        authorization: the client's, for instances without a key of their own.
        api_key: the client's x-api-key, as Anthropic's clients send it; or empty.
        request_id: the client's, or empty.
        content_length: as declared, or None.
        terms: the headers that say how the request is to be served.
    """

    lines: bytes
    authorization: bytes = b""
    request_id: bytes = b""
    content_length: int | None = None
    api_key: bytes = b""
    terms: tuple[tuple[bytes, bytes], ...] = ()

    @property
    def key(self) -> bytes:
        """The client's key, as an Authorization header."""
        return self.authorization or (b"Bearer " + self.api_key if self.api_key else b"")

    def drop_keys(self) -> None:
        """The keys were meant for the gateway: no engine gets to see them."""
        self.authorization = self.api_key = b""


def read_head(headers: Iterable[tuple[bytes, bytes]]) -> RequestHead:
    """Sort a client's headers into those that pass and those the gateway acts on.

    Raises:
        ApiError: 400, a header that cannot be sent on safely.
    """
    parts: list[bytes] = []
    head = RequestHead(b"")
    count = 0
    for name, value in headers:
        if name in _OWN_REQUEST:
            _note(head, name, value)
        else:
            parts += (name, b": ", value, b"\r\n")
            count += 1
    lines = b"".join(parts)
    if lines.count(b"\n") != count or lines.count(b"\r") != count or b"\0" in lines:
        raise ApiError(400, "a request header holds a line break or NUL", code="invalid_header")
    head.lines = lines
    return head


def _note(head: RequestHead, name: bytes, value: bytes) -> None:
    if name == b"content-length":
        head.content_length = int(value) if value.isdigit() else None
    elif name == b"x-request-id":
        head.request_id = value if _REQUEST_ID.fullmatch(value) else b""
    elif name == b"authorization" and not (b"\r" in value or b"\n" in value):
        head.authorization = value
    elif name == b"x-api-key" and not (b"\r" in value or b"\n" in value):
        head.api_key = value
    elif name in TERM_HEADERS:
        head.terms += ((name, value),)


def understand_head(status: int, headers: Headers) -> ResponseHead:
    """Return what an engine's response head means for clients."""
    passed, streamed = response_headers(headers, status=status, request_id=b"", instance_id=b"")
    lines = [STATUS_LINES[status]]
    for name, value in passed[:-2]:
        if name != b"content-length":
            lines += (name, b": ", value, b"\r\n")
    joined = b"".join(lines)
    breaks = (len(lines) - 1) // 4 + 1
    whole = joined.count(b"\n") == breaks == joined.count(b"\r")
    plain = whole and not streamed and status < 500 and status not in (204, 304)
    rest = [item for item in headers if item[0] != b"content-length"]
    return ResponseHead(status, rest, joined, plain)


def response_headers(
    upstream: Headers, *, status: int, request_id: bytes, instance_id: bytes
) -> tuple[Headers, bool]:
    """Return what the client gets of an engine's headers, and whether the body is a stream.

    Args:
        upstream: as the engine sent them, names in lower case.
        status: the engine's status.
        request_id: of this request.
        instance_id: of the instance that answered.
    """
    streamed = False
    cached = False
    headers: Headers = []
    for item in upstream:
        name = item[0]
        if name in _OWN_RESPONSE:
            continue
        if name == b"content-type":
            streamed = item[1][:17].lower() == b"text/event-stream"
        elif name == b"cache-control":
            cached = True
        elif name == b"content-length" and status in (204, 304):
            continue
        headers.append(item)
    if streamed and not cached:
        headers.append((b"cache-control", b"no-cache"))
    headers.append((b"x-request-id", request_id))
    headers.append((b"x-sage-instance", instance_id))
    return headers, streamed

"""The little of ASGI 3 that the gateway uses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

ABORT_EXTENSION = "sage.abort"
"""Key in ``scope["extensions"]`` of a function that closes the client's connection at once."""


async def send_json(
    send: Send, status: int, payload: object, headers: Headers | None = None
) -> None:
    """Answer a request with a JSON document."""
    body = msgspec.json.encode(payload)
    all_headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        *(headers or ()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": all_headers})
    await send({"type": "http.response.body", "body": body})

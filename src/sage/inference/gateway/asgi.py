"""The little of ASGI 3 that the gateway uses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol

import msgspec

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

CLIENT_EXTENSION = "sage.client"
"""Key in ``scope["extensions"]`` of a ClientLink, where the server offers one."""


class ClientLink(Protocol):
    """What the gateway asks of its server beyond ASGI."""

    def abort(self) -> None:
        """Close the client's connection at once, cutting the response short."""

    def hold(self) -> None:
        """Keep the response's head back and write it with the body, which follows at once."""


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

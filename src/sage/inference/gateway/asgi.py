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
    """One request's way to its client without ASGI's coroutines and messages (``Reply``).

    Attributes:
        on_gone: called when the client leaves before the response is complete.
        message: the whole request as it came, where its head may be known again; else None.
    """

    message: bytes | None
    on_gone: Callable[[], None] | None

    def whole_body(self) -> bytes | None:
        """Return the request's body if all of it is here; None: ``receive`` it."""

    def begin(self, status: int, headers: Headers) -> None:
        """Set the head down; it leaves with the first of the body, or by ``flush``."""

    def flush(self) -> None:
        """Let the head leave now, if it has not."""

    def write(self, data: bytes) -> bool:
        """Write a piece of the body; return whether the client keeps up, else ``drain`` first."""

    def finish(self, data: bytes) -> None:
        """Write the last piece of the body, and end."""

    async def drain(self) -> None:
        """Wait until what was written has left."""

    def abort(self) -> None:
        """Close the client's connection at once, cutting the response short."""


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

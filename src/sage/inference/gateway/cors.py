"""Cross-origin requests: which pages in a browser may use the gateway."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sage.errors import ConfigError
from sage.inference.gateway.added_headers import AddingLink, adding_send
from sage.inference.gateway.asgi import (
    CLIENT_EXTENSION,
    ASGIApp,
    Headers,
    Receive,
    Scope,
    Send,
    send_json,
)
from sage.inference.gateway.errors import ApiError
from sage.inference.gateway.routes import MANAGEMENT_PREFIX

ANY = "*"

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s\"',]+")
_NAMES = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~, -]{1,2000}")
_METHODS = b"GET, HEAD, POST"
_MAX_AGE = b"600"
_EXPOSED = ", ".join(
    (
        "x-request-id",
        "x-sage-instance",
        "x-sage-queue-ms",
        "retry-after",
        *(
            f"x-ratelimit-{what}-{of}"
            for of in ("requests", "tokens")
            for what in ("limit", "remaining", "reset")
        ),
    )
).encode()


def check_origins(origins: Sequence[str]) -> None:
    """Check that each is an origin as browsers send it, or ``*`` for any.

    Raises:
        ConfigError: one is not; says which.
    """
    for origin in origins:
        if origin != ANY and not _ORIGIN.fullmatch(origin):
            raise ConfigError(
                f"cors_origins: {origin!r} is no origin; write scheme://host or scheme://host:port "
                "in lower case with no path, or * for any"
            )


class Cors:
    """An ASGI app that lets pages of some origins use another app, management excepted.

    Keys travel in headers that a page sets itself, so no credentials of the browser are allowed.

    Args:
        app: what is asked.
        origins: as browsers send them; ``*`` is any.
    """

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        self._app = app
        self._any = ANY in origins
        self._origins = frozenset(origin.encode() for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, and say to the browser whether its page may see the answer."""
        if scope["type"] != "http" or scope["path"].startswith(MANAGEMENT_PREFIX):
            await self._app(scope, receive, send)
            return
        asked = dict(scope["headers"])
        origin = asked.get(b"origin")
        preflight = scope["method"] == "OPTIONS" and b"access-control-request-method" in asked
        if origin is not None and preflight:
            await self._preflight(asked, origin, send)
            return
        headers = self._vary()
        if origin is not None and self._allows(origin):
            headers += self._allowed(origin)
            headers.append((b"access-control-expose-headers", _EXPOSED))
        await self._pass_on(scope, receive, send, headers)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send, headers: Headers) -> None:
        """Serve a request, adding to the headers of its response."""
        extensions = scope.get("extensions") or {}
        link = extensions.get(CLIENT_EXTENSION)
        if link is not None:
            adding = AddingLink(link, lambda: headers)
            scope = {**scope, "extensions": {**extensions, CLIENT_EXTENSION: adding}}
        await self._app(scope, receive, adding_send(send, lambda: headers))

    def _allows(self, origin: bytes) -> bool:
        return self._any or origin in self._origins

    def _allowed(self, origin: bytes) -> Headers:
        return [(b"access-control-allow-origin", ANY.encode() if self._any else origin)]

    def _vary(self) -> Headers:
        """Caches must keep the answers to different origins apart."""
        return [] if self._any else [(b"vary", b"origin")]

    async def _preflight(self, asked: dict[bytes, bytes], origin: bytes, send: Send) -> None:
        if not self._allows(origin):
            error = ApiError(
                403,
                f"pages of {origin.decode('latin-1')[:200]} may not use this gateway; "
                "cors_origins says which may",
                type="permission_error",
                code="origin_refused",
            )
            await send_json(send, 403, error.body(), self._vary())
            return
        headers = [
            *self._vary(),
            *self._allowed(origin),
            (b"access-control-allow-methods", _METHODS),
            (b"access-control-max-age", _MAX_AGE),
        ]
        names = asked.get(b"access-control-request-headers", b"")
        if _NAMES.fullmatch(names):
            headers.append((b"access-control-allow-headers", names))
        await send({"type": "http.response.start", "status": 204, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

"""What the gateway answers from its own state."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sage.inference.gateway.asgi import Receive, Scope, Send, send_json
from sage.inference.gateway.bodies import ClientGoneError
from sage.inference.gateway.errors import ApiError
from sage.inference.gateway.headers import read_head
from sage.inference.gateway.keys import KeyRing
from sage.inference.gateway.management import Management
from sage.inference.gateway.prometheus import CONTENT_TYPE, exposition
from sage.inference.gateway.routes import MODEL_PREFIX, Page, Route

if TYPE_CHECKING:
    from sage.inference.gateway.app import Gateway


class Pages:
    """Health, models, metrics and management of one gateway.

    Args:
        gateway: what they show.
        on_reload: reads the configuration again; None where there is nothing to read.
    """

    def __init__(self, gateway: Gateway, on_reload: Callable[[], None] | None) -> None:
        self._gateway = gateway
        self._management = Management(gateway, on_reload)

    async def serve(self, route: Route, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request for a page; all but health and readiness need a key if any do."""
        keys = self._gateway.keys
        try:
            await self._serve(route, keys, scope, receive, send)
        except ClientGoneError:
            return
        except ApiError as error:
            await send_json(send, error.status, error.body(), error.response_headers())

    async def _serve(
        self, route: Route, keys: KeyRing, scope: Scope, receive: Receive, send: Send
    ) -> None:
        page = route.page
        if page is Page.HEALTH:
            await self._health(_may_see(keys, scope), send)
        elif page is Page.READY:
            ready = self._gateway.status != "unavailable"
            await send_json(send, 200 if ready else 503, {"ready": ready})
        elif page is Page.MANAGEMENT:
            keys.check_management(read_head(scope["headers"]).key)
            await self._management.handle(scope, receive, send)
        else:
            if keys.guarded:
                keys.tenant(read_head(scope["headers"]).key)
            await self._open_page(page, scope, send)

    async def _open_page(self, page: Page | None, scope: Scope, send: Send) -> None:
        if page is Page.METRICS:
            await _send_text(send, exposition(self._gateway.metrics, self._gateway.snapshot()))
        elif page is Page.MODELS:
            await send_json(send, 200, {"object": "list", "data": self._gateway.model_list()})
        else:
            await self._model(scope["path"][len(MODEL_PREFIX) :], send)

    async def _health(self, whole: bool, send: Send) -> None:
        status = self._gateway.status
        answer = {"status": status, **(self._gateway.snapshot() if whole else {})}
        await send_json(send, 503 if status == "unavailable" else 200, answer)

    async def _model(self, name: str, send: Send) -> None:
        models = self._gateway.model_list()
        for model in models:
            if model["id"] == name:
                await send_json(send, 200, model)
                return
        known = ", ".join(repr(model["id"]) for model in models) or "none"
        raise ApiError(
            404,
            f"the model {name!r} does not exist; models here: {known}",
            param="model",
            code="model_not_found",
        )


def _may_see(keys: KeyRing, scope: Scope) -> bool:
    """Whether the asker gets to see instances and their addresses."""
    if not keys.guarded:
        return True
    try:
        keys.tenant(read_head(scope["headers"]).key)
    except ApiError:
        return False
    return True


async def _send_text(send: Send, body: bytes) -> None:
    headers = [(b"content-type", CONTENT_TYPE), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})

"""The embedding server's ASGI app: OpenAI's routes over a micro-batcher."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from sage.errors import BadRequestError, EngineError, RejectedError, SageError
from sage.inference.embeddings import metrics
from sage.inference.embeddings.batcher import MicroBatcher
from sage.inference.embeddings.wire import (
    EmbeddingInput,
    EmbeddingRequest,
    decode_request,
    encode_answer,
    encode_error,
    encode_json,
    read_input,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from sage.inference.embeddings.embedder import LocalEmbedder, PreparedText
    from sage.inference.embeddings.queue import QueuePolicy

logger = logging.getLogger("sage.embeddings")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

# Up to so many characters are tokenised on the event loop: below a millisecond, and cheaper than
# handing them to a thread.
_TOKENISE_INLINE = 4096
_LOADING_RETRY_AFTER = 1.0
_ERROR_TYPES = {429: "rate_limit_error", 500: "server_error", 503: "server_error"}


class _UnknownModelError(BadRequestError):
    """The request names a model that is not served here."""

    def __init__(self, message: str) -> None:
        super().__init__(message, status=404)


class _ClientGoneError(Exception):
    """The client closed its connection before its answer."""


class EmbeddingApp:
    """An ASGI app that serves one model.

    Until ``ready`` is called it answers 503, so a supervisor can tell loading from dead.

    Args:
        model: the served name.
        max_body_bytes: the largest request body.
    """

    def __init__(self, model: str, *, max_body_bytes: int = 32 * 2**20) -> None:
        self._model = model
        self._max_body = max_body_bytes
        self._created = int(time.time())
        self._embedder: LocalEmbedder | None = None
        self._batcher: MicroBatcher | None = None
        self._tokeniser = ThreadPoolExecutor(1, thread_name_prefix="sage-tokenise")
        self._refused = 0
        self._routes: dict[str, tuple[str, Callable[[Receive, Send], Awaitable[None]]]] = {
            "/v1/embeddings": ("POST", self._embeddings),
            "/v1/models": ("GET", self._models),
            "/health": ("GET", self._health),
            "/metrics": ("GET", self._metrics),
        }

    def ready(self, embedder: LocalEmbedder, policy: QueuePolicy) -> None:
        """The model is loaded: serve it."""
        self._embedder = embedder
        self._batcher = MicroBatcher(embedder, policy)

    async def aclose(self) -> None:
        """Wait for the accepted requests."""
        if self._batcher is not None:
            await self._batcher.aclose()
        self._tokeniser.shutdown(wait=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        assert scope["type"] == "http", scope["type"]
        path, method = scope["path"], scope["method"]
        try:
            route = self._routes.get(path)
            if route is None:
                message = f"no route {path}; there are {', '.join(self._routes)}"
                raise BadRequestError(message, status=404)
            if method != route[0]:
                raise BadRequestError(f"{path} takes {route[0]}, not {method}", status=405)
            await route[1](receive, send)
        except _ClientGoneError:
            return
        except SageError as error:
            await _send_error(send, error)
        except Exception as error:
            logger.exception("%s %s failed", method, path)
            await _send_error(send, EngineError(f"internal error: {type(error).__name__}: {error}"))

    async def _embeddings(self, receive: Receive, send: Send) -> None:
        batcher = self._loaded()
        try:
            request, prepared = await self._prepared(receive)
        except BadRequestError:
            self._refused += 1
            raise
        vectors = await _wait(batcher, prepared, receive)
        pieces = encode_answer(
            self._model,
            vectors,
            request.encoding_format,
            tokens=sum(text.tokens for text in prepared),
            truncated=sum(text.truncated for text in prepared),
        )
        body = bytearray()
        for number, piece in enumerate(pieces):
            body += piece
            if number % 4 == 3:
                # A large answer takes a while to write; others have their turn in between.
                await asyncio.sleep(0)
        await _send(send, 200, bytes(body))

    async def _prepared(self, receive: Receive) -> tuple[EmbeddingRequest, list[PreparedText]]:
        request = decode_request(await _read_body(receive, self._max_body))
        assert self._embedder is not None
        if request.model not in (None, self._model):
            raise _UnknownModelError(
                f"model {request.model!r} is not here; this server has {self._model!r}"
            )
        if request.dimensions not in (None, self._embedder.dim):
            raise BadRequestError(
                f"dimensions={request.dimensions}: {self._model} has {self._embedder.dim} "
                "and its vectors cannot be shortened; leave dimensions out"
            )
        given = read_input(request.input)
        if given.size <= _TOKENISE_INLINE:
            return request, _prepare(self._embedder, given)
        loop = asyncio.get_running_loop()
        return request, await loop.run_in_executor(self._tokeniser, _prepare, self._embedder, given)

    async def _models(self, _receive: Receive, send: Send) -> None:
        row = {
            "id": self._model,
            "object": "model",
            "created": self._created,
            "owned_by": "sage",
            "kind": "embedding",
        }
        await _send(send, 200, encode_json({"object": "list", "data": [row]}))

    async def _health(self, _receive: Receive, send: Send) -> None:
        self._loaded()
        await _send(send, 200, encode_json({"status": "ok", "model": self._model}))

    async def _metrics(self, _receive: Receive, send: Send) -> None:
        batcher = self._loaded()
        assert self._embedder is not None
        page = metrics.render(batcher.queue, self._embedder.usage, refused=self._refused)
        await _send(send, 200, page, content_type=b"text/plain; version=0.0.4")

    def _loaded(self) -> MicroBatcher:
        if self._batcher is None:
            raise RejectedError(
                f"{self._model} is still loading", status=503, retry_after=_LOADING_RETRY_AFTER
            )
        return self._batcher


def _prepare(embedder: LocalEmbedder, given: EmbeddingInput) -> list[PreparedText]:
    if given.texts is not None:
        return embedder.prepare(given.texts)
    return embedder.prepare_ids(given.ids or [])


async def _wait(
    batcher: MicroBatcher, prepared: Sequence[PreparedText], receive: Receive
) -> npt.NDArray[np.float32]:
    """Return the vectors; when the client leaves first, drop its texts."""
    ticket = batcher.submit(prepared)
    # The body has been read, so the next message can only be that the client has gone.
    watch = asyncio.ensure_future(receive())
    watch.add_done_callback(lambda _: batcher.cancel(ticket))
    try:
        return await ticket.future
    except asyncio.CancelledError:
        batcher.cancel(ticket)
        if watch.done():
            raise _ClientGoneError from None
        raise
    finally:
        watch.cancel()


async def _read_body(receive: Receive, limit: int) -> bytes | bytearray:
    message = await receive()
    first: bytes = message.get("body", b"")
    if not message.get("more_body", False) and message["type"] == "http.request":
        _check_size(len(first), limit)
        return first
    body = bytearray(first)
    while message["type"] == "http.request" and message.get("more_body", False):
        message = await receive()
        body += message.get("body", b"")
        _check_size(len(body), limit)
    if message["type"] != "http.request":
        raise _ClientGoneError
    return body


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise BadRequestError(f"the body is over {limit} bytes; split the input", status=413)


async def _send(
    send: Send,
    status: int,
    body: bytes,
    *,
    content_type: bytes = b"application/json",
    headers: Sequence[tuple[bytes, bytes]] = (),
) -> None:
    start = [(b"content-type", content_type), (b"content-length", b"%d" % len(body)), *headers]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": body})


async def _send_error(send: Send, error: SageError) -> None:
    status = error.status if isinstance(error, BadRequestError | RejectedError) else 500
    kind = _ERROR_TYPES.get(status, "invalid_request_error")
    code = "model_not_found" if isinstance(error, _UnknownModelError) else None
    headers = []
    if isinstance(error, RejectedError) and error.retry_after is not None:
        headers.append((b"retry-after", b"%d" % math.ceil(error.retry_after)))
    if status == 413:
        # The rest of the body is on its way and nobody will read it.
        headers.append((b"connection", b"close"))
    await _send(send, status, encode_error(str(error), kind=kind, code=code), headers=headers)

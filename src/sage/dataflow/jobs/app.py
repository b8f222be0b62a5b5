"""The manager's HTTP application."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from sage.dataflow.jobs.life import Order
from sage.dataflow.jobs.manager import JobManager
from sage.dataflow.jobs.openapi import openapi_document
from sage.dataflow.jobs.routes import HEALTH, ROUTES
from sage.dataflow.jobs.versions import versions_here
from sage.dataflow.jobs.wire import (
    Failure,
    Health,
    JobList,
    Refusal,
    ResumeOrder,
    Submission,
)
from sage.errors import (
    ConfigError,
    JobManagerError,
    SageError,
    TokenError,
    UnknownJobError,
)

MOST_BYTES = 512 << 20
_LONGEST_WAIT = 30.0

T = TypeVar("T", bound=msgspec.Struct)

# The first that an error is an instance of.
_STATUSES: tuple[tuple[type[SageError], int], ...] = (
    (TokenError, 401),
    (UnknownJobError, 404),
    (JobManagerError, 409),
    (ConfigError, 400),
)


def make_app(
    manager: JobManager,
    token: str,
    lifespan: Callable[[Any], contextlib.AbstractAsyncContextManager[None]] | None = None,
    *,
    most_bytes: int = MOST_BYTES,
) -> ASGIApp:
    """Return the application of a manager.

    Args:
        manager: what it shows.
        token: that every request but the one for health must show.
        lifespan: entered when the server starts and left when it ends.
        most_bytes: longest body of a request.
    """
    pages = _Pages(manager, most_bytes)
    routes = [
        Route(route.path, getattr(pages, route.name), methods=[route.method]) for route in ROUTES
    ]
    app = Starlette(
        routes=routes,
        lifespan=lifespan,
        exception_handlers={SageError: _refused, HTTPException: _http_error},
    )
    return _Guard(app, token)


class _Guard:
    """Lets only those in that show the token."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass the request on."""
        if scope["type"] == "lifespan" or scope["path"] == HEALTH or self._shown(scope):
            await self._app(scope, receive, send)
            return
        error = TokenError("the job manager was shown no token, or another one than its own")
        response = _failure(401, error)
        response.headers["www-authenticate"] = "Bearer"
        await response(scope, receive, send)

    def _shown(self, scope: Scope) -> bool:
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        # In constant time, so that the time of an answer tells nothing of the token.
        return len(given) == 1 and secrets.compare_digest(given[0], self._expected)


class _Pages:
    """A handler for each route, by its name."""

    def __init__(self, manager: JobManager, most_bytes: int) -> None:
        self._manager = manager
        self._most_bytes = most_bytes

    async def health(self, _: Request) -> Response:
        return _json(Health())

    async def openapi(self, _: Request) -> Response:
        return _json(openapi_document(versions_here().sage))

    async def submit(self, request: Request) -> Response:
        submission = await self._body(request, Submission)
        return _json(self._manager.submit(submission), 201)

    async def jobs(self, _: Request) -> Response:
        return _json(JobList(self._manager.jobs()))

    async def job(self, request: Request) -> Response:
        return _json(await self._manager.job(_id(request)))

    async def delete(self, request: Request) -> Response:
        self._manager.delete(_id(request))
        return Response(status_code=204)

    async def metrics(self, request: Request) -> Response:
        job = await self._manager.job(_id(request))
        if job.progress is None:
            raise JobManagerError(f"job {job.id!r} is {job.state}; it has no metrics yet")
        return _json(job.progress)

    async def result(self, request: Request) -> Response:
        wait = _number(request, "wait", float, 0.0)
        outcome = await self._manager.outcome(_id(request), min(max(wait, 0.0), _LONGEST_WAIT))
        return Response(status_code=202) if outcome is None else _json(outcome)

    async def log(self, request: Request) -> Response:
        lines = _number(request, "lines", int, None)
        if lines is not None and lines < 0:
            raise ConfigError(f"lines is {lines}; give a number from 0")
        text = self._manager.log(_id(request), lines, follow=_flag(request, "follow"))
        return StreamingResponse(text, media_type="text/plain; charset=utf-8")

    async def stop(self, request: Request) -> Response:
        return _json(await self._manager.order(_id(request), Order.STOP))

    async def cancel(self, request: Request) -> Response:
        return _json(await self._manager.order(_id(request), Order.CANCEL))

    async def resume(self, request: Request) -> Response:
        order = await self._body(request, ResumeOrder)
        return _json(self._manager.resume(_id(request), order.checkpoint))

    async def _body(self, request: Request, kind: type[T]) -> T:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > self._most_bytes:
                raise HTTPException(
                    413,
                    f"the request is larger than {self._most_bytes:,} bytes; have the pipeline "
                    "read its data instead of carrying it",
                )
        try:
            return msgspec.json.decode(body, type=kind)
        except msgspec.DecodeError as error:
            raise ConfigError(f"the request's body is wrong: {error}") from error


def _id(request: Request) -> str:
    id_: str = request.path_params["id"]
    return id_


def _number(request: Request, name: str, read: Callable[[str], Any], default: Any) -> Any:
    text = request.query_params.get(name)
    if text is None:
        return default
    try:
        return read(text)
    except ValueError:
        raise ConfigError(f"{name} is {text!r}; give a number") from None


def _flag(request: Request, name: str) -> bool:
    text = request.query_params.get(name, "false")
    if text not in ("true", "false"):
        raise ConfigError(f"{name} is {text!r}; give true or false")
    return text == "true"


def _json(value: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def _failure(status: int, error: Exception, message: str | None = None) -> Response:
    refusal = Refusal(type(error).__name__, str(error) if message is None else message)
    return _json(Failure(refusal), status)


async def _refused(_: Request, error: Exception) -> Response:
    status = next((code for kind, code in _STATUSES if isinstance(error, kind)), 500)
    return _failure(status, error)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = error.detail
    if error.status_code in (404, 405):
        message = f"there is no {request.method} {request.url.path}; see /openapi.json"
    return _failure(error.status_code, JobManagerError(), message)

"""The one table that turns HTTP failures into SAGE's errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2
import msgspec

from sage.errors import (
    BadRequestError,
    InferenceError,
    RejectedError,
    RequestTimeoutError,
    UpstreamError,
    shorten,
)
from sage.inference.client.calls import Call, is_loopback

_Maker = Callable[[Call, Exception], InferenceError]


def _connect_timeout(call: Call, _: Exception) -> InferenceError:
    return RequestTimeoutError(
        f"{call.url}: no connection within {call.connect_timeout_s:g} s; "
        "check the address and that the server is up"
    )


def _timeout(call: Call, _: Exception) -> InferenceError:
    return RequestTimeoutError(
        f"{call.url}: no answer within {call.timeout_s:g} s; "
        "give a larger timeout, or ask for fewer tokens"
    )


def _connect(call: Call, error: Exception) -> InferenceError:
    hint = "start one with `sage llm serve`, or check" if is_loopback(call.url) else "check"
    return InferenceError(
        f"{call.url}: cannot connect ({_cause(error)}); {hint} the address and port"
    )


def _broken(call: Call, error: Exception) -> InferenceError:
    return UpstreamError(f"{call.url}: the answer was cut off, the connection broke ({error})")


def _other(call: Call, error: Exception) -> InferenceError:
    return InferenceError(f"{call.url}: the request failed: {type(error).__name__}: {error}")


# The first row that fits; subclasses stand before their bases.
_TABLE: tuple[tuple[type[Exception], _Maker], ...] = (
    (httpx2.ConnectTimeout, _connect_timeout),
    (httpx2.TimeoutException, _timeout),
    (httpx2.ConnectError, _connect),
    (httpx2.ProxyError, _connect),
    (httpx2.NetworkError, _broken),
    (httpx2.RemoteProtocolError, _broken),
    (httpx2.DecodingError, _broken),
    (httpx2.HTTPError, _other),
    (httpx2.InvalidURL, _other),
)

HTTP_ERRORS: tuple[type[Exception], ...] = tuple(row[0] for row in _TABLE)


def from_exception(call: Call, error: Exception) -> InferenceError:
    """The SAGE error for one that httpx2 raised; the caller chains it with ``from``."""
    for kind, make in _TABLE:
        if isinstance(error, kind):
            return make(call, error)
    raise TypeError(f"{type(error).__name__} is not an error of the HTTP client") from error


def from_status(call: Call, status: int, headers: Mapping[str, str], body: bytes) -> InferenceError:
    """The SAGE error for an answer whose status is 300 or more."""
    said = f"{call.url}: HTTP {status}: {server_message(body)}"
    if status in (429, 503):
        return RejectedError(said, status=status, retry_after=retry_after(headers))
    if status in (401, 403):
        return BadRequestError(f"{said} (check the API key)", status=status)
    if 400 <= status < 500:
        return BadRequestError(said, status=status)
    if status < 400:
        return UpstreamError(f"{said} (redirects to {headers.get('location')!r}; use that address)")
    return UpstreamError(said)


def is_retryable(error: InferenceError) -> bool:
    """True when no work was done: the server refused for now, or the connection was refused."""
    return isinstance(error, RejectedError) or isinstance(error.__cause__, httpx2.ConnectError)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds of a Retry-After header; a date counts from the answer's own Date header."""
    value = headers.get("retry-after", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        seconds = _seconds_until(value, headers.get("date", ""))
    return max(0.0, seconds) if seconds < float("inf") else None


def _seconds_until(when: str, now: str) -> float:
    try:
        return (parsedate_to_datetime(when) - parsedate_to_datetime(now)).total_seconds()
    except (ValueError, TypeError):
        return float("inf")


def server_message(body: bytes) -> str:
    """What an error's body says: OpenAI's shape, FastAPI's, or the text itself, shortened."""
    try:
        found = _message_in(msgspec.json.decode(body))
    except msgspec.DecodeError:
        found = body.decode("utf-8", "replace").strip()
    return found if 0 < len(found) <= 500 else shorten(found or "no message", 500)


def _message_in(answer: Any) -> str:
    if isinstance(answer, dict):
        for key in ("error", "message", "detail"):
            if answer.get(key):
                return _message_in(answer[key])
    return answer if isinstance(answer, str) else str(answer)


def _cause(error: BaseException) -> str:
    return str(error) or type(error).__name__

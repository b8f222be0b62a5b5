"""What the gateway answers when it cannot pass on an engine's answer.

Errors have OpenAI's shape, and on the routes of Anthropic's API (``/v1/messages``) Anthropic's.

::

    InferenceError
    ├── ApiError                    the gateway itself answers, with a status and an error body
    └── UpstreamError
        ├── ConnectFailedError      no connection, so the engine has seen nothing of the request
        ├── ConnectionBrokenError   the engine closed the connection before the answer's end
        ├── InstanceLostError       the instance was taken away before the answer's end
        └── MalformedResponseError  what came is not HTTP/1.1
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from sage.errors import InferenceError, UpstreamError
from sage.inference.gateway.asgi import Headers
from sage.inference.scheduling.decision import Reject

ANTHROPIC_PREFIX = "/v1/messages"
"""What the paths of Anthropic's API begin with."""

_ANTHROPIC_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


class ConnectFailedError(UpstreamError):
    """No connection could be made; the engine has seen nothing of the request."""


class ConnectionBrokenError(UpstreamError):
    """The engine closed the connection before its answer was complete."""


class InstanceLostError(UpstreamError):
    """The instance was taken away before its answer was complete.

    Attributes:
        reason: what is said of it.
        code: the error's code for callers.
    """

    reason = "the instance was taken away"
    code = "instance_removed"

    def __init__(self) -> None:
        super().__init__(self.reason)


class MalformedResponseError(UpstreamError):
    """What the engine sent is not HTTP/1.1."""


class ApiError(InferenceError):
    """An answer that the gateway gives itself.

    Args:
        status: the HTTP status.
        message: one sentence for the caller.
        type: OpenAI's error type.
        param: the request field at fault.
        code: OpenAI's error code.
        retry_after: seconds after which a retry may succeed.
        headers: further response headers.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str = "invalid_request_error",  # noqa: A002 - OpenAI's name for it
        param: str | None = None,
        code: str | None = None,
        retry_after: float | None = None,
        headers: Headers | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.type = type
        self.param = param
        self.code = code
        self.retry_after = retry_after
        self.headers = headers or []

    def body(self, path: str = "") -> Mapping[str, Any]:
        """Return the error document.

        Args:
            path: of the request; decides the shape.
        """
        if path.startswith(ANTHROPIC_PREFIX):
            default = "api_error" if self.status >= 500 else "invalid_request_error"
            kind = _ANTHROPIC_TYPES.get(self.status, default)
            return {"type": "error", "error": {"type": kind, "message": str(self)}}
        return {
            "error": {
                "message": str(self),
                "type": self.type,
                "param": self.param,
                "code": self.code,
            }
        }

    def event(self, path: str = "") -> bytes:
        """Return the event that ends a stream which cannot go on.

        Args:
            path: of the request; decides the shape.
        """
        named = b"event: error\n" if path.startswith(ANTHROPIC_PREFIX) else b""
        # The blank line ends an event that broke off in its middle.
        return b"\n\n" + named + b"data: " + msgspec.json.encode(self.body(path)) + b"\n\n"

    def response_headers(self) -> Headers:
        """Return the headers that go with the document."""
        if self.retry_after is None:
            return self.headers
        return [*self.headers, (b"retry-after", b"%d" % math.ceil(self.retry_after))]


def rejection(decision: Reject, causes: list[str]) -> ApiError:
    """Turn the scheduler's refusal into an answer.

    Args:
        decision: what the scheduler said.
        causes: why each instance that was tried could not be reached.
    """
    reason = "; ".join([decision.reason, *causes])
    if decision.status == 404:
        return ApiError(404, reason, param="model", code="model_not_found")
    if decision.status == 429:
        return ApiError(
            429,
            reason,
            type="rate_limit_error",
            code="queue_full",
            retry_after=decision.retry_after,
        )
    code = "no_instance_up" if decision.status == 503 else "upstream_unreachable"
    return ApiError(
        decision.status, reason, type="server_error", code=code, retry_after=decision.retry_after
    )

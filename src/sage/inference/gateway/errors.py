"""What the gateway answers when it cannot pass on an engine's answer, in OpenAI's shape.

::

    InferenceError
    ├── ApiError                    the gateway itself answers, with a status and an error body
    └── UpstreamError
        ├── ConnectFailedError      no connection, so the engine has seen nothing of the request
        ├── ConnectionBrokenError   the engine closed the connection before the answer's end
        └── MalformedResponseError  what came is not HTTP/1.1
"""

from __future__ import annotations

import math

from sage.errors import InferenceError, UpstreamError
from sage.inference.gateway.asgi import Headers
from sage.inference.scheduling.decision import Reject


class ConnectFailedError(UpstreamError):
    """No connection could be made; the engine has seen nothing of the request."""


class ConnectionBrokenError(UpstreamError):
    """The engine closed the connection before its answer was complete."""


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

    def body(self) -> dict[str, dict[str, str | None]]:
        """Return the error document."""
        return {
            "error": {
                "message": str(self),
                "type": self.type,
                "param": self.param,
                "code": self.code,
            }
        }

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

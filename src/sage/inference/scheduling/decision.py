"""What the scheduler answers: what to do now with a request."""

from __future__ import annotations

from typing import NamedTuple


class Dispatch(NamedTuple):
    """Send the request to the instance now."""

    request_id: int
    instance_id: str


class Reject(NamedTuple):
    """Refuse the request.

    Attributes:
        status: the HTTP status that says why (404 unknown model, 429 queue full, 503 none up).
        reason: one sentence for the caller.
        retry_after: seconds after which a retry may succeed, when that is known.
    """

    request_id: int
    status: int
    reason: str
    retry_after: float | None = None


Decision = Dispatch | Reject

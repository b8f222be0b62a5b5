"""Which server answers requests of a kind, and why that one."""

from __future__ import annotations

from dataclasses import dataclass

from sage.errors import NoBackendError
from sage.inference.client.calls import Endpoint
from sage.inference.scheduling.request import Kind


@dataclass(frozen=True, slots=True)
class Attempt:
    """A place that was looked at: its URL or the variable that would name it, and the outcome."""

    place: str
    source: str
    outcome: str

    def __str__(self) -> str:
        return f"{self.place} ({self.source}): {self.outcome}"


@dataclass(frozen=True, slots=True)
class Target:
    """The outcome of looking for a server.

    Attributes:
        kind: the kind of request it answers.
        endpoint: the server; ``None`` when no place answered.
        model: the model for requests that name none; ``None`` to ask the server for its first.
        source: what kind of place it is (``"explicit"``, ``"local gateway"``, …).
        reason: why this one, in words.
        tried: every place looked at, in order.
    """

    kind: Kind
    endpoint: Endpoint | None
    model: str | None
    source: str
    reason: str
    tried: tuple[Attempt, ...] = ()

    def require(self) -> Endpoint:
        """Return the endpoint.

        Raises:
            NoBackendError: there is none; lists each place tried and why it failed.
        """
        if self.endpoint is None:
            raise no_backend(str(self.kind), self.tried)
        return self.endpoint


def no_backend(kinds: str, tried: tuple[Attempt, ...]) -> NoBackendError:
    """The error that lists each place tried."""
    places = "; ".join(str(attempt) for attempt in tried)
    return NoBackendError(
        f"no {kinds} backend answered. Tried: {places}. Start one with `sage llm serve`, name "
        "one in .env (SAGE_CHAT_BASE_URL, SAGE_EMBEDDING_BASE_URL), or give control_plane_url"
    )

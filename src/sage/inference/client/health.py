"""Is a server there, is it well, and what does it serve: one bounded look, as a flow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from sage.errors import InferenceError
from sage.inference.client.answers import ListedModel, parse_models
from sage.inference.client.calls import Call, Endpoint, Reply, health_url, is_loopback
from sage.inference.client.flow import Flow, Send
from sage.inference.scheduling.request import Kind

_MAX_PROBE_BYTES = 4 * 2**20
_SHORTEST_S = 0.1
_LOCAL_S = 0.5
# Another continent's TLS handshake alone takes longer than half a second.
_REMOTE_S = 3.0


@dataclass(frozen=True, slots=True)
class Health:
    """What a look at a server showed.

    Attributes:
        models: what it lists; ``None`` when it lists nothing or is not there.
        problem: why it cannot be used; ``None`` when it can.
        status: the HTTP status when the model list was refused.
        up_kinds: the kinds with a live instance, when the server is a gateway that tells.
    """

    models: tuple[ListedModel, ...] | None = None
    problem: str | None = None
    status: int | None = None
    up_kinds: frozenset[Kind] | None = None

    def serves(self, kind: Kind, *, unmarked: bool) -> list[str]:
        """The models of a kind; those without a mark count when ``unmarked`` is true."""
        return [
            model.id
            for model in self.models or ()
            if model.kind is kind or (model.kind is None and unmarked)
        ]


def look_timeout_s(url: str) -> float:
    """How long a look at a server may take: 0.5 s on this machine, 3 s elsewhere."""
    return _LOCAL_S if is_loopback(url) else _REMOTE_S


def look(endpoint: Endpoint, timeout_s: float, clock: Callable[[], float]) -> Flow[Health]:
    """Ask a server for its models and its health, within about ``timeout_s`` seconds in all."""
    began = clock()
    try:
        models = parse_models((yield Send(_call(endpoint, f"{endpoint.url}/models", timeout_s))))
    except InferenceError as error:
        return Health(problem=str(error), status=getattr(error, "status", None))
    left = max(_SHORTEST_S, timeout_s - (clock() - began))
    try:
        reply = yield Send(_call(endpoint, health_url(endpoint.url), left))
    except InferenceError as error:
        # Many servers have no such route; only a server that says it is unwell is unwell.
        status = getattr(error, "status", None)
        unwell = not isinstance(status, int) or status == 503
        return Health(tuple(models), problem=str(error) if unwell else None)
    return Health(tuple(models), up_kinds=_up_kinds(reply))


def _call(endpoint: Endpoint, url: str, timeout_s: float) -> Call:
    return Call(
        "GET",
        url,
        endpoint.api_key,
        timeout_s=timeout_s,
        connect_timeout_s=timeout_s,
        max_bytes=_MAX_PROBE_BYTES,
    )


def _up_kinds(reply: Reply) -> frozenset[Kind] | None:
    try:
        answer: Any = msgspec.json.decode(reply.body)
    except msgspec.DecodeError:
        return None
    instances = answer.get("instances") if isinstance(answer, dict) else None
    if not isinstance(instances, list):
        return None
    up = {item.get("kind") for item in instances if isinstance(item, dict) and item.get("up")}
    return frozenset(kind for kind in Kind if kind.value in up)

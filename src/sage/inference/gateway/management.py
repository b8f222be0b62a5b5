"""``/v1/management/``: looking at a running gateway and changing it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import msgspec

from sage.errors import ConfigError, InferenceError
from sage.inference.gateway.asgi import Receive, Scope, Send, send_json
from sage.inference.gateway.bodies import read_body
from sage.inference.gateway.config import BackendInstanceConfig
from sage.inference.gateway.errors import ApiError
from sage.inference.gateway.mapping import from_mapping
from sage.inference.gateway.routes import MANAGEMENT_PREFIX
from sage.inference.scheduling.form import core_form
from sage.inference.scheduling.policy import policy_descriptions
from sage.inference.scheduling.request import Kind

if TYPE_CHECKING:
    from sage.inference.gateway.app import Gateway

_MAX_BODY = 64 * 1024

Answer = tuple[int, Any]


class Management:
    """The management routes of one gateway.

    Args:
        gateway: what they act on.
        on_reload: reads the configuration again; None where there is nothing to read.
    """

    def __init__(self, gateway: Gateway, on_reload: Callable[[], None] | None) -> None:
        self._gateway = gateway
        self._on_reload = on_reload
        self._actions: dict[tuple[str, str], Callable[[Any], Awaitable[Answer]]] = {
            ("GET", "status"): self._status,
            ("GET", "metrics"): self._metrics,
            ("GET", "policy"): self._policy,
            ("PUT", "policy"): self._set_policy,
            ("GET", "instances"): self._instances,
            ("POST", "instances"): self._add,
            ("POST", "reload"): self._reload,
        }
        self._instance_actions: dict[
            tuple[str, str], Callable[[str, dict[str, list[str]]], Awaitable[Answer]]
        ] = {
            ("GET", ""): self._instance,
            ("DELETE", ""): self._remove,
            ("POST", "drain"): self._drain,
            ("POST", "resume"): self._resume,
        }

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request whose sender may manage."""
        try:
            status, answer = await self._route(scope, receive)
        except ApiError as error:
            await send_json(send, error.status, error.body(), error.response_headers())
        except ConfigError as error:
            refusal = ApiError(400, str(error), code="invalid_value")
            await send_json(send, 400, refusal.body())
        except InferenceError as error:
            refusal = ApiError(404, str(error), code="instance_not_found")
            await send_json(send, 404, refusal.body())
        else:
            await send_json(send, status, answer)

    async def _route(self, scope: Scope, receive: Receive) -> Answer:
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        path = scope["path"][len(MANAGEMENT_PREFIX) :].strip("/")
        action = self._actions.get((method, path))
        if action is not None:
            body = await _document(scope, receive) if method in ("POST", "PUT") else None
            return await action(body)
        parts = path.split("/")
        if parts[0] == "instances" and len(parts) in (2, 3):
            verb = parts[2] if len(parts) == 3 else ""
            change = self._instance_actions.get((method, verb))
            if change is not None:
                _check_origin(scope)
                return await change(parts[1], parse_qs(scope["query_string"].decode("latin-1")))
        known = ", ".join(f"{method} {name}" for method, name in self._actions)
        raise ApiError(
            404,
            f"there is no {method} {scope['path']}; under {MANAGEMENT_PREFIX} there are: {known}, "
            "GET and DELETE instances/ID, POST instances/ID/drain and instances/ID/resume",
            code="route_not_found",
        )

    async def _status(self, _: Any) -> Answer:
        gateway = self._gateway
        return 200, {
            "status": gateway.status,
            "scheduling_core": core_form(),
            "policy": gateway.policy,
            **gateway.snapshot(),
        }

    async def _metrics(self, _: Any) -> Answer:
        return 200, {
            "requests": self._gateway.snapshot()["requests"],
            "series": self._gateway.metrics.summary(),
            "scheduler": self._gateway.scheduler_stats(),
        }

    async def _policy(self, _: Any) -> Answer:
        return 200, {"policy": self._gateway.policy, "available": policy_descriptions()}

    async def _set_policy(self, body: Any) -> Answer:
        name = body.get("policy")
        if not isinstance(name, str) or len(body) != 1:
            raise ApiError(400, 'the body must be {"policy": NAME}', param="policy")
        self._gateway.set_policy(name)
        return 200, {"policy": self._gateway.policy}

    async def _instances(self, _: Any) -> Answer:
        return 200, {"instances": self._gateway.snapshot()["instances"]}

    async def _add(self, body: Any) -> Answer:
        backend = from_mapping(BackendInstanceConfig, body, where="the request body")
        spec = backend.spec(Kind(backend.instance_type or Kind.LLM))
        if spec.id in self._gateway.instance_ids():
            raise ApiError(409, f"there is an instance {spec.id!r} already", param="instance_id")
        self._gateway.add_instance(
            spec, backend.url, backend.api_key, priorities=backend.priorities
        )
        return 201, self._gateway.instance(spec.id)

    async def _reload(self, _: Any) -> Answer:
        if self._on_reload is None:
            raise ApiError(409, "this gateway was not started from a configuration file")
        self._on_reload()
        return await self._status(None)

    async def _instance(self, instance_id: str, _: object) -> Answer:
        return 200, self._gateway.instance(instance_id)

    async def _remove(self, instance_id: str, query: dict[str, list[str]]) -> Answer:
        try:
            seconds = float(query.get("drain_timeout", ["30"])[-1])
        except ValueError:
            seconds = -1.0
        if not 0 <= seconds <= 86400:
            raise ApiError(400, "drain_timeout must be seconds, 0 to 86400", param="drain_timeout")
        await self._gateway.remove_instance(instance_id, drain_timeout=seconds)
        return 200, {"removed": instance_id}

    async def _drain(self, instance_id: str, _: object) -> Answer:
        self._gateway.drain(instance_id)
        return 200, self._gateway.instance(instance_id)

    async def _resume(self, instance_id: str, _: object) -> Answer:
        self._gateway.set_up(instance_id)
        return 200, self._gateway.instance(instance_id)


def _check_origin(scope: Scope) -> None:
    """Refuse what a page in a browser could send unasked to a gateway on the same machine."""
    for name, _ in scope["headers"]:
        if name == b"origin":
            raise ApiError(403, "management is not for web pages", code="origin_refused")


async def _document(scope: Scope, receive: Receive) -> dict[str, Any]:
    _check_origin(scope)
    body = await read_body(receive, _MAX_BODY)
    if not body:
        return {}
    try:
        answer = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ApiError(400, f"the body is not JSON: {error}", code="invalid_json") from None
    if not isinstance(answer, dict):
        raise ApiError(400, "the body must be a JSON object", code="invalid_body")
    return answer

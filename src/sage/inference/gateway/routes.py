"""Which paths the gateway serves, and how."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from enum import Enum

from sage.inference.gateway.errors import ApiError
from sage.inference.scheduling.request import Kind


class Page(Enum):
    """What the gateway answers from its own state."""

    MODELS = "models"
    MODEL = "model"
    HEALTH = "health"


@dataclass(frozen=True)
class Route:
    """One path.

    Attributes:
        path: as in the URL; ``{model}`` stands for the rest of it.
        methods: HTTP methods it answers to.
        kind: the kind of instance that serves it, for routes that are passed on.
        page: what the gateway answers itself, for the others.
    """

    path: str
    methods: tuple[str, ...]
    kind: Kind | None = None
    page: Page | None = None

    @functools.cached_property
    def target(self) -> bytes:
        """The path as it is sent to an engine."""
        return self.path.encode()


ROUTES = (
    Route("/v1/chat/completions", ("POST",), kind=Kind.LLM),
    Route("/v1/completions", ("POST",), kind=Kind.LLM),
    Route("/v1/embeddings", ("POST",), kind=Kind.EMBEDDING),
    Route("/v1/models", ("GET", "HEAD"), page=Page.MODELS),
    Route("/v1/models/{model}", ("GET", "HEAD"), page=Page.MODEL),
    Route("/health", ("GET", "HEAD"), page=Page.HEALTH),
)

MODEL_PREFIX = "/v1/models/"

_by_path = {route.path: route for route in ROUTES}
_model_route = _by_path["/v1/models/{model}"]


def find_route(method: str, path: str) -> Route:
    """Return the route, or raise ApiError 404 or 405."""
    route = _by_path.get(path)
    if route is None:
        if not path.startswith(MODEL_PREFIX) or path == MODEL_PREFIX:
            known = ", ".join(f"{r.methods[0]} {r.path}" for r in ROUTES)
            raise ApiError(
                404, f"there is no {method} {path}; routes: {known}", code="route_not_found"
            )
        route = _model_route
    if method not in route.methods:
        allowed = ", ".join(route.methods)
        raise ApiError(
            405,
            f"{method} is not allowed on {path}; allowed: {allowed}",
            code="method_not_allowed",
            headers=[(b"allow", allowed.encode())],
        )
    return route

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
    READY = "ready"
    METRICS = "metrics"
    MANAGEMENT = "management"


@dataclass(frozen=True)
class Route:
    """One path.

    Attributes:
        path: as in the URL; ``{model}`` stands for the rest of it.
        methods: HTTP methods it answers to.
        kinds: the kinds of instance that may serve it, for routes that are passed on; with
            several, the first that has the request's model does.
        page: what the gateway answers itself, for the others.
    """

    path: str
    methods: tuple[str, ...]
    kinds: tuple[Kind, ...] = ()
    page: Page | None = None

    @functools.cached_property
    def target(self) -> bytes:
        """The path as it is sent to an engine."""
        return self.path.encode()


_LLM = (Kind.LLM,)
_EMBEDDING = (Kind.EMBEDDING,)
_EMBEDDING_FIRST = (Kind.EMBEDDING, Kind.LLM)
_LLM_FIRST = (Kind.LLM, Kind.EMBEDDING)

ROUTES = (
    Route("/v1/chat/completions", ("POST",), kinds=_LLM),
    Route("/v1/completions", ("POST",), kinds=_LLM),
    Route("/v1/responses", ("POST",), kinds=_LLM),
    Route("/v1/responses/input_tokens", ("POST",), kinds=_LLM),
    Route("/v1/messages", ("POST",), kinds=_LLM),
    Route("/v1/messages/count_tokens", ("POST",), kinds=_LLM),
    Route("/v1/embeddings", ("POST",), kinds=_EMBEDDING),
    Route("/v1/rerank", ("POST",), kinds=_EMBEDDING_FIRST),
    Route("/v1/score", ("POST",), kinds=_EMBEDDING_FIRST),
    Route("/tokenize", ("POST",), kinds=_LLM_FIRST),
    Route("/detokenize", ("POST",), kinds=_LLM_FIRST),
    Route("/v1/models", ("GET", "HEAD"), page=Page.MODELS),
    Route("/v1/models/{model}", ("GET", "HEAD"), page=Page.MODEL),
    Route("/health", ("GET", "HEAD"), page=Page.HEALTH),
    Route("/ready", ("GET", "HEAD"), page=Page.READY),
    Route("/metrics", ("GET", "HEAD"), page=Page.METRICS),
    Route("/v1/management/{path}", ("GET", "HEAD", "POST", "PUT", "DELETE"), page=Page.MANAGEMENT),
)

MODEL_PREFIX = "/v1/models/"
MANAGEMENT_PREFIX = "/v1/management/"

_by_path = {route.path: route for route in ROUTES}
_model_route = _by_path["/v1/models/{model}"]
_management_route = _by_path["/v1/management/{path}"]


def find_route(method: str, path: str) -> Route:
    """Return the route, or raise ApiError 404 or 405."""
    route = _by_path.get(path)
    if route is None:
        route = _find_by_prefix(path)
        if route is None:
            known = ", ".join(f"{r.methods[0]} {r.path}" for r in ROUTES)
            raise ApiError(
                404, f"there is no {method} {path}; routes: {known}", code="route_not_found"
            )
    if method not in route.methods:
        allowed = ", ".join(route.methods)
        raise ApiError(
            405,
            f"{method} is not allowed on {path}; allowed: {allowed}",
            code="method_not_allowed",
            headers=[(b"allow", allowed.encode())],
        )
    return route


def _find_by_prefix(path: str) -> Route | None:
    if path.startswith(MODEL_PREFIX) and path != MODEL_PREFIX:
        return _model_route
    return _management_route if path.startswith(MANAGEMENT_PREFIX) else None

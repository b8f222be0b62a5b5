"""What a request's head asks of the gateway."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sage.inference.gateway.asgi import Scope
from sage.inference.gateway.errors import ApiError
from sage.inference.gateway.headers import RequestHead, read_head
from sage.inference.gateway.keys import KeyRing
from sage.inference.gateway.routes import Route
from sage.inference.gateway.terms import NO_TERMS, Terms, read_terms

_QUERY = re.compile(rb"[\x21-\x7e]*")


@dataclass(frozen=True, slots=True)
class RequestPlan:
    """How a request with that head is served.

    Attributes:
        route: what it asks for.
        target: path and query as they are sent to an engine.
        head: its headers, without keys that were meant for the gateway.
        tenant: whose key it came with; empty without keys.
        terms: how urgent it is, and its objectives.
        keys: those it was checked against.
        scope: ASGI's.
    """

    route: Route
    target: bytes
    head: RequestHead
    tenant: str
    terms: Terms
    keys: KeyRing
    scope: Scope

    @property
    def repeatable(self) -> bool:
        """Whether the head may come again: it names no single request."""
        return not self.head.request_id and b"traceparent: " not in self.head.lines


def read_plan(route: Route, scope: Scope, keys: KeyRing) -> RequestPlan:
    """Read a request's head.

    Raises:
        ApiError: 400 for a header or query that cannot be used, 401 for a key that is not known.
    """
    head = read_head(scope["headers"])
    tenant = ""
    if keys.guarded:
        tenant = keys.tenant(head.key)
        head.drop_keys()
    terms = read_terms(head.terms) if head.terms else NO_TERMS
    target = _target(route, scope["query_string"])
    return RequestPlan(route, target, head, tenant, terms, keys, scope)


def _target(route: Route, query: bytes) -> bytes:
    if not query:
        return route.target
    if not _QUERY.fullmatch(query):
        raise ApiError(400, "the query string holds characters that a URL cannot")
    return b"%b?%b" % (route.target, query)

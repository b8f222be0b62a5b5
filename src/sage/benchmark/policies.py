"""The policies a gateway can be told to follow, and telling it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

from sage.errors import ConfigError, InferenceError, UnknownKeyError, UpstreamError
from sage.inference.scheduling.policy import policy_descriptions

_ROUTE = "/v1/management/policy"


class SchedulingPolicy(StrEnum):
    """The policies that come with the control plane; others may be registered by name."""

    FIFO = "fifo"
    PRIORITY = "priority"
    SLO_AWARE = "slo_aware"
    COST_OPTIMIZED = "cost_optimized"
    ADAPTIVE = "adaptive"
    HYBRID = "hybrid"
    HYBRID_SLO = "hybrid_slo"


_SENTENCES = {
    SchedulingPolicy.FIFO: "first come, first served, on the least busy instance",
    SchedulingPolicy.PRIORITY: "the request of highest priority first",
    SchedulingPolicy.SLO_AWARE: "by slack, from measured latency percentiles",
    SchedulingPolicy.COST_OPTIMIZED: "on the cheapest instance that keeps the SLO",
    SchedulingPolicy.ADAPTIVE: "chooses among the others by the load it sees",
    SchedulingPolicy.HYBRID: "schedules LLM and embedding traffic together",
    SchedulingPolicy.HYBRID_SLO: "hybrid, ordered by slack",
}


def known_policies() -> dict[str, str]:
    """Return the policies that can be named, with a sentence each; registered ones included."""
    named = {policy.value: sentence for policy, sentence in _SENTENCES.items()}
    return {**named, **policy_descriptions()}


def check_policy(name: str) -> None:
    """Raise UnknownKeyError, naming the nearest, for a policy nobody knows."""
    if name not in (known := known_policies()):
        raise UnknownKeyError(name, known, where="scheduling policy")


class StrategyAdapter:
    """Puts policies in force on a gateway, through its management route.

    Args:
        url: the gateway's base URL, without ``/v1``.
        api_key: sent as a bearer token, when the gateway asks for one.
        timeout_s: seconds for each call.
    """

    def __init__(self, url: str, *, api_key: str | None = None, timeout_s: float = 10.0) -> None:
        self.url = url.rstrip("/")
        self._headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self._timeout_s = timeout_s

    @staticmethod
    def list_policies() -> dict[str, str]:
        """Return the policies that can be named, with a sentence each."""
        return known_policies()

    def current(self) -> str:
        """Return the name of the policy in force.

        Raises:
            InferenceError: the gateway cannot be asked, or does not know.
        """
        return str(self._state()["policy"])

    def available(self) -> list[str]:
        """Return the names this gateway takes; raises as `current` does."""
        return list(self._state()["available"])

    def apply(self, policy: str) -> None:
        """Put a policy in force and read it back.

        Raises:
            UnknownKeyError: this gateway does not have it.
            InferenceError: it could not be set, or another one is in force afterwards.
        """
        state = self._state()
        if policy not in state["available"]:
            raise UnknownKeyError(policy, state["available"], where=f"policies of {self.url}")
        self._call("PUT", {"policy": policy})
        if (found := self.current()) != policy:
            raise UpstreamError(
                f"{self.url} took policy {policy!r}, but {found!r} is in force; "
                "is something else setting it?"
            )

    @contextmanager
    def restored(self) -> Iterator[str]:
        """Give the name of the policy in force, and put it back in force at the block's end."""
        before = self.current()
        try:
            yield before
        finally:
            self.apply(before)

    def _state(self) -> dict[str, Any]:
        state = self._call("GET")
        named = isinstance(state, dict) and isinstance(state.get("policy"), str)
        if not named or not isinstance(state.get("available"), dict):
            raise UpstreamError(f"{self.url}{_ROUTE} did not answer with a policy: {state!r:.120}")
        return dict(state)

    def _call(self, method: str, payload: dict[str, str] | None = None) -> Any:
        import httpx2

        where = f"{self.url}{_ROUTE}"
        try:
            answer = httpx2.request(
                method,
                where,
                json=payload,
                headers=self._headers,
                timeout=self._timeout_s,
                trust_env=False,
            )
            body = answer.json() if answer.content else None
        except httpx2.HTTPError as error:
            raise InferenceError(f"{method} {where}: {type(error).__name__}: {error}") from None
        except ValueError:
            body = answer.text[:120]
        if answer.status_code == 404:
            raise ConfigError(
                f"{self.url} has no {_ROUTE}, so its policy can neither be read nor set; "
                "point --url at a SAGE gateway, or leave the policy out"
            )
        if not answer.is_success:
            raise InferenceError(f"{method} {where} answered {answer.status_code}: {body}")
        return body

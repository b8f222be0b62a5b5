"""The client's logic as flows: generators that yield what they need done.

A flow names effects (send this, wait that long, run these side by side) and is resumed with
their outcome, or with the error thrown in. It does no I/O, so the same flow serves the sync and
the async client: ``senders`` holds one driver for each.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from sage.inference.client.calls import Call
from sage.inference.scheduling.request import Kind


@dataclass(frozen=True, slots=True)
class Send:
    """Send the call; the outcome is its ``Reply``."""

    call: Call


@dataclass(frozen=True, slots=True)
class Open:
    """Send the call and leave its body unread; the outcome is the HTTP library's response."""

    call: Call


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait; the outcome is ``None``."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Gather:
    """Run flows side by side, ``limit`` at a time; the outcome is the list of their results.

    The first error ends the others and is thrown in.
    """

    flows: Sequence[Generator[Any, Any, Any]]
    limit: int


@dataclass(frozen=True, slots=True)
class Once:
    """Run a flow while no other runs under this key; the outcome is its result."""

    key: Kind
    flow: Callable[[], Generator[Any, Any, Any]]


Effect: TypeAlias = Send | Open | Sleep | Gather | Once

T = TypeVar("T")
Flow: TypeAlias = Generator[Effect, Any, T]

"""The optional methods of a user's operator object."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from sage.dataflow.context import RuntimeContext
from sage.dataflow.functions.base import Function

if TYPE_CHECKING:
    from sage.dataflow.guard import JobServices
    from sage.dataflow.meter import Meter


def is_operator(target: object) -> bool:
    """Say whether an object is an operator, as against a plain callable or an iterable."""
    if isinstance(target, Function) or (inspect.isclass(target) and issubclass(target, Function)):
        return True
    return any(callable(getattr(target, name, None)) for name in ("execute", "map1"))


def method_of(target: object, name: str) -> Callable[..., Any] | None:
    """Return an operator's method, or None.

    A plain callable has none: it may well be a method of a file, whose ``close`` is not ours to
    call.
    """
    method = getattr(target, name, None) if is_operator(target) else None
    return method if callable(method) else None


def open_target(target: object, context: RuntimeContext) -> Any:
    """Give an operator its context and call its ``open``, which may leave the argument out.

    Returns:
        what it returned: a coroutine when it is async.
    """
    if isinstance(target, Function):
        target.context = context
    method = method_of(target, "open")
    if method is None:
        return None
    return method(*((context,) if inspect.signature(method).parameters else ()))


def close_target(target: object) -> Any:
    """Call an operator's ``close``.

    Returns:
        what it returned: a coroutine when it is async.
    """
    method = method_of(target, "close")
    return None if method is None else method()


class Finite(ABC):
    """A source that knows how much of its input it has given."""

    @abstractmethod
    def progress(self) -> tuple[float, float] | None:
        """Return how much it has given and will have given, in one unit; None when not known.

        Called from any thread.
        """


class Timed(ABC):
    """An operator that is woken by a timer.

    Attributes:
        due: when to wake it, in seconds of the runtime's clock; None for not at all.
    """

    due: float | None = None

    @abstractmethod
    def wake(self) -> list[Any]:
        """Return the records to emit, the timer having come."""


class Bound(ABC):
    """An operator that uses what the job's replicas share."""

    @abstractmethod
    def bind(self, services: JobServices, meter: Meter) -> None:
        """Take the job's services and the replica's counts, before ``open``."""


class Checkpointed(ABC):
    """An operator of ours with state that is neither by key nor a user's object's own."""

    @abstractmethod
    def saved(self) -> Any:
        """Return what a checkpoint keeps of it."""

    @abstractmethod
    def restore_saved(self, state: Any) -> None:
        """Take over what a checkpoint kept, keyed state and timers being restored."""

    @staticmethod
    @abstractmethod
    def divided(states: Sequence[Any], parallelism: int) -> Sequence[Any]:
        """Return the states of ``parallelism`` replicas that go on where others were."""


class Gathering(ABC):
    """An operator that also calls the user's code on something other than a record: a window."""

    @abstractmethod
    def guard_results(self, guard: Callable[[Callable[[Any], Any]], Callable[[Any], Any]]) -> None:
        """Take what makes of such a call one that ends as the operator's options say."""

    @staticmethod
    def shown_result(thing: Any) -> Any:
        """Return the thing as the user is to see it."""
        return thing


class Wrapper:
    """An operator that runs a user's object in a way of its own.

    Args:
        target: the user's operator object or callable.
    """

    def __init__(self, target: Any) -> None:
        self.target = target
        self.call: Callable[..., Any] = getattr(target, "execute", target)

    def open(self, context: RuntimeContext) -> Any:
        """Open the user's object."""
        return open_target(self.target, context)

    def close(self) -> Any:
        """Close the user's object."""
        return close_target(self.target)

    def settle(self) -> list[Any]:
        """Return what the user's object holds and cannot save: a checkpoint comes."""
        return []

    def shown(self, record: Any) -> Any:
        """Return the record as the user knows it, for errors."""
        return record


def users_own(target: Any) -> Any:
    """Return the user's object of what runs: that which wrappers are around."""
    while isinstance(target, Wrapper):
        target = target.target
    return target

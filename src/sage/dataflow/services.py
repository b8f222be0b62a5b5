"""What operators share: one instance a process, made when the first of them asks for it."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sage.errors import ConfigError, DataflowError, GraphError, UnknownKeyError, shorten

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Registration:
    """How a service is made.

    Attributes:
        name: by which operators ask for it.
        factory: a class, or a function that returns it.
        args: positional arguments of the factory.
        kwargs: keyword arguments of the factory.
    """

    name: str
    factory: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ConfigError(f"a service's name is {self.name!r}; give a text that is not empty")
        if not callable(self.factory):
            raise ConfigError(
                f"service {self.name!r} is {shorten(self.factory)}; give a class or a function "
                "that makes it: every process makes one of its own"
            )
        try:
            signature = inspect.signature(self.factory)
        except ValueError:
            return  # some of C's say nothing of their arguments
        try:
            signature.bind(*self.args, **self.kwargs)
        except TypeError as error:
            raise ConfigError(f"service {self.name!r} cannot be made so: {error}") from error

    def make(self) -> Any:
        """Make the service and open it.

        Raises:
            Exception: what its constructor or its ``open`` raised; in the second case its ``close``
                was called.
        """
        service = self.factory(*self.args, **self.kwargs)
        try:
            _call_if_there(service, "open")
        except BaseException:
            _call_if_there(service, "close")
            raise
        return service

    def check_sendable(self, dump: Callable[[Any], bytes]) -> None:
        """Raise `GraphError` unless a worker process, to which ``dump`` pickles, can make it."""
        try:
            dump(self)
        except Exception as error:
            raise GraphError(
                f"service {self.name!r} cannot be sent to a worker process ({error}); define it at "
                "the top level of a module and give arguments that can be pickled"
            ) from error


class Services:
    """The services of a job in one process.

    Args:
        registrations: how each is made.
    """

    def __init__(self, registrations: tuple[Registration, ...] = ()) -> None:
        self.registrations = registrations
        self._by_name = {registration.name: registration for registration in registrations}
        self._locks = {name: threading.Lock() for name in self._by_name}
        self._sharing = threading.Lock()
        # By name, or by what made it; in the order in which they were made.
        self._made: dict[str | Callable[[], Any], Any] = {}

    def get(self, name: str) -> Any:
        """Return a service, made by whoever asks first while all others wait for it.

        Raises:
            UnknownKeyError: none of that name was registered.
            DataflowError: none was registered at all, or it could not be made.
        """
        if name in self._made:
            return self._made[name]
        if not self._by_name:
            raise DataflowError(
                f"service {name!r} was asked for, but none is registered; call "
                "env.register_service() before submit()"
            )
        if name not in self._by_name:
            raise UnknownKeyError(name, self._by_name, where="services of the environment")
        # A lock each: a model that takes a minute to load holds up only those who want it.
        with self._locks[name]:
            if name not in self._made:
                self._made[name] = self._make(name)
            return self._made[name]

    def share(self, make: Callable[[], T]) -> T:
        """Return what a function makes, for which nobody registers it: once for all who ask.

        Args:
            make: called the first time, while all others wait. What it returns is closed with the
                services, if it has a ``close``.

        Raises:
            Exception: what ``make`` raised; the next who asks has it called again.
        """
        with self._sharing:
            if make not in self._made:
                self._made[make] = make()
            made: T = self._made[make]
            return made

    def _make(self, name: str) -> Any:
        try:
            return self._by_name[name].make()
        except Exception as error:
            raise DataflowError(
                f"service {name!r} could not be made: {type(error).__name__}: {error}"
            ) from error

    def close(self) -> None:
        """Close those that were made, last to first; a second time nothing is left to close.

        Raises:
            DataflowError: one of them raised; the others are closed all the same.
        """
        failure: DataflowError | None = None
        while self._made:
            name, service = self._made.popitem()
            try:
                _call_if_there(service, "close")
            except Exception as error:  # noqa: BLE001 - the rest must be closed too
                failure = failure or _closing_failed(name, error)
        if failure is not None:
            raise failure


def _closing_failed(name: str | Callable[[], Any], error: Exception) -> DataflowError:
    name = name if isinstance(name, str) else name.__name__
    failure = DataflowError(
        f"service {name!r} could not be closed: {type(error).__name__}: {error}"
    )
    failure.__cause__ = error
    return failure


def _call_if_there(service: Any, method: str) -> None:
    call = getattr(service, method, None)
    if callable(call):
        call()

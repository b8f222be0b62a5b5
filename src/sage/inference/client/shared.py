"""One client a name, for the whole process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from sage.errors import ConfigError
from sage.inference.client.calls import base_url
from sage.inference.client.config import ClientConfig
from sage.inference.client.forking import on_fork


class _Client(Protocol):
    @property
    def closed(self) -> bool: ...

    @property
    def config(self) -> ClientConfig: ...


C = TypeVar("C", bound=_Client)


@dataclass(slots=True)
class _Slot(Generic[C]):
    # A name has its own lock, so looking for one client's servers does not hold up the others.
    lock: threading.Lock = field(default_factory=threading.Lock)
    client: C | None = None


class SharedClients(Generic[C]):
    """Clients by name; made once, replaced when closed."""

    def __init__(self) -> None:
        self._slots: dict[str, _Slot[C]] = {}
        self._renew()
        on_fork(self._renew)

    def _renew(self) -> None:
        # In a forked child another thread of the parent may hold the old locks forever.
        self._lock = threading.Lock()
        for slot in self._slots.values():
            slot.lock = threading.Lock()

    def get(self, name: str, options: Mapping[str, Any], make: Callable[[], C]) -> C:
        """Return the client of that name, making it when there is none that is open.

        Raises:
            ConfigError: it exists, with other values for some of ``options``.
        """
        with self._lock:
            slot = self._slots.setdefault(name, _Slot())
        with slot.lock:
            client = slot.client
            if client is None or client.closed:
                client = slot.client = make()
            else:
                _check_same(name, client.config, options)
            return client


def _check_same(name: str, config: ClientConfig, options: Mapping[str, Any]) -> None:
    for option, value in options.items():
        has = getattr(config, option, None)
        if option == "control_plane_url" and value is not None:
            value = base_url(value)  # noqa: PLW2901 - compared as the configuration holds it
        if has != value:
            shown = "another value" if option == "api_key" else f"{has!r}, not {value!r}"
            raise ConfigError(
                f"the shared client {name!r} exists with {option}={shown}; "
                "leave the option out, give another name, or close that client first"
            )

"""State that an operator keeps for each key.

A handle is made once, in ``open``; it reads and writes for the key of the record at hand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

from sage.errors import DataflowError


class KeyedState:
    """All state of one replica, by key.

    Attributes:
        key: the key of the record at hand; the runtime sets it.
    """

    def __init__(self) -> None:
        self.key: Any = _NO_KEY
        self._names: dict[str, dict[Any, Any]] = {}

    def value(self, name: str, default: Any = None) -> ValueState:
        """Return a handle to one value a key; ``default`` until it is set."""
        return ValueState(self, self.table(name), default)

    def list(self, name: str) -> ListState:
        """Return a handle to a list a key."""
        return ListState(self, self.table(name))

    def map(self, name: str) -> MapState:
        """Return a handle to a dict a key."""
        return MapState(self, self.table(name))

    def table(self, name: str) -> dict[Any, Any]:
        """Return what is kept under a name, by key, for operators that see to the keys."""
        return self._names.setdefault(name, {})

    def tables(self) -> dict[str, dict[Any, Any]]:
        """Return all that is kept: by name, by key."""
        return self._names

    def restore(self, tables: Mapping[str, Mapping[Any, Any]]) -> None:
        """Take over what was kept before; handles that were made see it."""
        for table in self._names.values():
            table.clear()
        for name, kept in tables.items():
            self.table(name).update(kept)

    def current_key(self) -> Any:
        """Return the key of the record at hand.

        Raises:
            DataflowError: there is none: the stream has no keyby before this operator.
        """
        if self.key is _NO_KEY:
            raise DataflowError(
                "keyed state was used without a key; put keyby() before this operator, and use "
                "the state in execute() only"
            )
        return self.key


class _NoKey:
    """Stands for no key; every value, None too, can be one."""


_NO_KEY = _NoKey()


class _Handle:
    def __init__(self, state: KeyedState, table: dict[Any, Any]) -> None:
        self._state = state
        self._table = table

    def clear(self) -> None:
        """Forget what is kept for the key at hand."""
        self._table.pop(self._state.current_key(), None)

    def all_keys(self) -> Iterator[Any]:
        """Return the keys for which something is kept, of this replica."""
        return iter(tuple(self._table))


class ValueState(_Handle):
    """One value a key."""

    def __init__(self, state: KeyedState, table: dict[Any, Any], default: Any) -> None:
        super().__init__(state, table)
        self._default = default

    def get(self) -> Any:
        """Return the value."""
        return self._table.get(self._state.current_key(), self._default)

    def set(self, value: Any) -> None:
        """Set the value."""
        self._table[self._state.current_key()] = value


class ListState(_Handle):
    """A list a key."""

    def get(self) -> list[Any]:
        """Return a copy of the list."""
        return list(self._table.get(self._state.current_key(), ()))

    def append(self, value: Any) -> None:
        """Append to the list."""
        self._table.setdefault(self._state.current_key(), []).append(value)


class MapState(_Handle, MutableMapping[Any, Any]):
    """A dict a key."""

    def __getitem__(self, name: Any) -> Any:
        return self._mine()[name]

    def __setitem__(self, name: Any, value: Any) -> None:
        self._table.setdefault(self._state.current_key(), {})[name] = value

    def __delitem__(self, name: Any) -> None:
        del self._mine()[name]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._mine())

    def __len__(self) -> int:
        return len(self._mine())

    def _mine(self) -> dict[Any, Any]:
        mine: dict[Any, Any] = self._table.get(self._state.current_key(), {})
        return mine

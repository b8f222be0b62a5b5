"""Gathering records into lists, by number, tokens and time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from sage.dataflow.checks import check_count
from sage.dataflow.control import ControlItem, Controlled, Probe
from sage.dataflow.guard import JobServices
from sage.dataflow.lifecycle import Bound, Checkpointed, Timed
from sage.dataflow.meter import Meter
from sage.errors import ConfigError

CHARACTERS_PER_TOKEN = 4


def estimate_tokens(record: Any) -> int:
    """Estimate the tokens of a text: one for every four characters, and at least one.

    Raises:
        TypeError: the record is not a text.
    """
    if not isinstance(record, str):
        raise TypeError(
            f"max_tokens cannot count the tokens of a {type(record).__name__}; give batch() a "
            "function: tokens=lambda record: …"
        )
    return max(1, -(-len(record) // CHARACTERS_PER_TOKEN))


class Batcher(Timed, Controlled, Bound, Checkpointed):
    """Emits lists of records.

    A list is emitted when it is full, when the next record's tokens would not fit, when its first
    record has waited ``timeout`` seconds, whether or not another one comes, and at the end.

    Args:
        size: most records of a list.
        timeout: seconds that the first record of a list waits at most; None waits for a full one.
        max_tokens: most tokens of a list; a record with more makes a list of its own.
        tokens: counts the tokens of a record.
        clock: seconds, until the job's is given.
    """

    def __init__(
        self,
        size: int,
        timeout: float | None = None,
        max_tokens: int | None = None,
        tokens: Callable[[Any], int] = estimate_tokens,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        check_count("size", size)
        check_count("max_tokens", max_tokens)
        if timeout is not None and timeout <= 0:
            raise ConfigError(f"timeout is {timeout!r}; give seconds above 0, or None for no limit")
        self._size = size
        self._timeout = timeout
        self._max_tokens = max_tokens
        self._tokens = tokens
        self._clock = clock
        self._held: list[Any] = []
        self._held_tokens = 0

    def bind(self, services: JobServices, meter: Meter) -> None:  # noqa: ARG002 - counts nothing
        """Go by the job's clock."""
        self._clock = services.clock

    def execute(self, record: Any) -> list[list[Any]] | None:
        """Hold a record; return the lists that are complete thereby."""
        emitted: list[list[Any]] = []
        if self._max_tokens is not None:
            tokens = self._tokens(record)
            if self._held and self._held_tokens + tokens > self._max_tokens:
                emitted += self.flush()
            self._held_tokens += tokens
        if not self._held and self._timeout is not None:
            self.due = self._clock() + self._timeout
        self._held.append(record)
        if len(self._held) >= self._size or (
            self._max_tokens is not None and self._held_tokens >= self._max_tokens
        ):
            emitted += self.flush()
        return emitted or None

    def act(self, item: ControlItem) -> list[list[Any]]:
        """Emit what is held when a loop has nothing else to go on with."""
        return self.flush() if isinstance(item, Probe) else []

    def wake(self) -> list[list[Any]]:
        """Emit what is held: its first record has waited long enough."""
        return self.flush()

    def flush(self) -> list[list[Any]]:
        """Emit what is held."""
        held, self._held = self._held, []
        self._held_tokens = 0
        self.due = None
        return [held] if held else []

    def saved(self) -> list[Any]:
        """Return the records that are held."""
        return list(self._held)

    def restore_saved(self, state: list[Any]) -> None:
        """Hold records again; their time begins anew."""
        self._held = list(state)
        if self._max_tokens is not None:
            self._held_tokens = sum(map(self._tokens, state))
        if state and self._timeout is not None:
            self.due = self._clock() + self._timeout

    @staticmethod
    def divided(states: Sequence[list[Any]], parallelism: int) -> list[list[Any]]:
        """Deal out the records that are held."""
        held = [record for state in states for record in state]
        return [held[index::parallelism] for index in range(parallelism)]

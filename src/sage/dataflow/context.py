"""What an operator's replica knows of where it runs."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from sage.dataflow.state import KeyedState


class OperatorMetrics:
    """Counters of the user's own, summed over the replicas in the job's result."""

    def __init__(self) -> None:
        self._values: Counter[str] = Counter()

    def add(self, name: str, amount: int = 1) -> None:
        """Add ``amount`` to the counter ``name``."""
        self._values[name] += amount

    def replace(self, values: dict[str, int]) -> None:
        """Take over the counters of the process in which the operator runs."""
        self._values = Counter(values)

    def values(self) -> dict[str, int]:
        """Return the counters of this replica."""
        return dict(self._values)


@dataclass(frozen=True, slots=True)
class RuntimeContext:
    """Handed to ``open``.

    Attributes:
        name: the operator's name.
        index: this replica's number, from 0.
        parallelism: how many replicas there are.
        logger: the operator's logger, ``sage.dataflow.<name>``.
        metrics: counters of this replica.
        state: what this replica keeps by key, after ``keyby``.
    """

    name: str
    index: int = 0
    parallelism: int = 1
    metrics: OperatorMetrics = field(default_factory=OperatorMetrics)
    state: KeyedState = field(default_factory=KeyedState)

    @property
    def key(self) -> Any:
        """The key of the record at hand.

        Raises:
            DataflowError: the stream is not keyed.
        """
        return self.state.current_key()

    @property
    def logger(self) -> logging.Logger:
        """The operator's logger."""
        return logging.getLogger(f"sage.dataflow.{self.name}")

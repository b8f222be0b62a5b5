"""What an operator's replica knows of where it runs."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from sage.dataflow.needs import Resources
from sage.dataflow.services import Services
from sage.dataflow.state import KeyedState
from sage.dataflow.timers import Timers


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
        timers: of this replica, in ``process``; `timer` sets them.
        services: what was registered with the environment; `service` gives one.
        resources: what was asked for this replica, and its GPUs.
    """

    name: str
    index: int = 0
    parallelism: int = 1
    metrics: OperatorMetrics = field(default_factory=OperatorMetrics)
    state: KeyedState = field(default_factory=KeyedState)
    timers: Timers = field(default_factory=Timers)
    services: Services = field(default_factory=Services)

    def service(self, name: str) -> Any:
        """Return a service of the environment: one instance a process, made when first asked for.

        Raises:
            UnknownKeyError: none of that name was registered.
            DataflowError: it could not be made.
        """
        return self.services.get(name)

    resources: Resources = field(default_factory=Resources)

    @property
    def key(self) -> Any:
        """The key of the record at hand.

        Raises:
            DataflowError: the stream is not keyed.
        """
        return self.state.current_key()

    def timer(self, at: float, *, time: str | None = None) -> None:
        """Have ``on_timer`` called for the key at hand, in ``process``.

        Args:
            at: when; in the past, it is called after the record at hand.
            time: "event" goes by the watermark, "processing" by the clock, in seconds since the
                epoch. By default event time with ``process(timestamp=…)``, otherwise processing
                time.

        Raises:
            DataflowError: the operator has no such timers.
        """
        self.timers.set(self.key, at, time)

    def cancel_timer(self, at: float, *, time: str | None = None) -> None:
        """Forget the timer of the key at hand for a moment, if it is set."""
        self.timers.cancel(self.key, at, time)

    @property
    def timestamp(self) -> float:
        """The time of the record or timer at hand, in ``process``."""
        return self.timers.timestamp

    @property
    def watermark(self) -> float:
        """How far event time has gone on, in ``process``; minus infinity at first."""
        return self.timers.watermark

    @property
    def processing_time(self) -> float:
        """The clock that processing-time timers go by, in ``process``: seconds since the epoch."""
        return self.timers.time.processing_time()

    @property
    def logger(self) -> logging.Logger:
        """The operator's logger."""
        return logging.getLogger(f"sage.dataflow.{self.name}")

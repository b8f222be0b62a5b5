"""What can be said of an operator beside its function."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from sage.dataflow.checks import check_amount, check_count, check_seconds
from sage.dataflow.choices import read_choice
from sage.dataflow.retry import RetryPolicy
from sage.dataflow.sizes import read_size, size_text
from sage.dataflow.workers import Workers, read_workers
from sage.errors import ConfigError, UnknownKeyError


class OnError(StrEnum):
    """What becomes of a record on which an operator raised, after all attempts."""

    RAISE = "raise"
    SKIP = "skip"
    DEAD_LETTER = "dead_letter"


@dataclass(frozen=True, slots=True)
class OperatorOptions:
    """Options of one operator.

    Attributes:
        name: for metrics, errors and the plan; by default that of the class or function.
        parallelism: how many replicas run; None takes the environment's.
        on_error: "raise" stops the job; "skip" counts the record as failed and goes on;
            "dead_letter" also hands it to the job's dead letters.
        retry: how to try a record again before that: a `RetryPolicy`, or the number of attempts.
        workers: "thread" or "process", which on Ray is a child of the replica's actor; None takes
            the environment's.
        concurrency: of an async operator, records in flight at once in each replica; by default 64.
        ordered: of an async operator, whether results keep the order of their records.
        timeout: seconds for a call of an async operator, or of one in process workers; what takes
            longer is ended and fails with `OperatorTimeoutError`. In a process that is done by
            SIGALRM, which C code that holds the interpreter does not notice before it returns.
        cpus: CPU cores that each replica keeps busy; more in all than there are is logged.
        gpus: GPUs of each replica, a whole number or a share below 1; ``context.resources`` says
            which. Process workers see no others.
        memory: bytes, or a text such as "4GB", that each replica may need. Ray places it where
            that much is unclaimed; on one machine nothing is made of it.
    """

    name: str | None = None
    parallelism: int | None = None
    on_error: OnError = OnError.RAISE
    retry: RetryPolicy | None = None
    workers: Workers | None = None
    concurrency: int | None = None
    ordered: bool = True
    timeout: float | None = None
    cpus: float | None = None
    gpus: float | None = None
    memory: int | None = None

    def __post_init__(self) -> None:
        check_count("parallelism", self.parallelism)
        check_count("concurrency", self.concurrency)
        check_amount("cpus", self.cpus)
        check_amount("gpus", self.gpus)
        if self.timeout is not None:
            check_seconds("timeout", self.timeout, above=True)
        if self.gpus is not None and self.gpus > 1 and self.gpus != int(self.gpus):
            raise ConfigError(f"gpus is {self.gpus!r}; above 1, give a whole number")
        if self.name is not None and (not isinstance(self.name, str) or not self.name):
            raise ConfigError(f"name is {self.name!r}; give a text that is not empty")

    @property
    def handles_errors(self) -> bool:
        """Whether anything but the end of the job follows an error."""
        return self.retry is not None or self.on_error is not OnError.RAISE

    def needs(self) -> str:
        """Return what the operator asks of the machine, as text; empty for nothing."""
        asked = (("cpus", self.cpus, ""), ("gpus", self.gpus, ""), ("timeout", self.timeout, " s"))
        needs = [f"{name} {value:g}{unit}" for name, value, unit in asked if value]
        needs += [f"memory {size_text(self.memory)}"] if self.memory else []
        return ", ".join(needs)

    @classmethod
    def merged(cls, where: str, *layers: Mapping[str, Any]) -> Self:
        """Build from layers of keywords, the later over the earlier; None says nothing."""
        merged: dict[str, Any] = {}
        for layer in layers:
            check_option_names(layer, where=where)
            merged.update({key: value for key, value in layer.items() if value is not None})
        for key, read in _READERS.items():
            if key in merged:
                merged[key] = read(merged[key])
        return cls(**merged)


def _on_error(value: object) -> OnError:
    return read_choice(OnError, value, "on_error")


def _retry(value: object) -> RetryPolicy:
    if isinstance(value, RetryPolicy):
        return value
    if isinstance(value, int):
        return RetryPolicy(attempts=value)
    raise ConfigError(f"retry is {value!r}; give the number of attempts or a RetryPolicy")


_READERS: dict[str, Callable[[object], object]] = {
    "on_error": _on_error,
    "retry": _retry,
    "memory": lambda value: read_size("memory", value),
    "workers": read_workers,
}

OPTION_NAMES = frozenset(field.name for field in dataclasses.fields(OperatorOptions))


def check_option_names(names: Iterable[str], *, where: str) -> None:
    """Raise `UnknownKeyError` for the first name that is no option."""
    for name in names:
        if name not in OPTION_NAMES:
            raise UnknownKeyError(name, OPTION_NAMES, where=where)
